"""{{name}}: the classes that this module names are what the host calls."""

from config import Lifecycle
{{of_hooks}}
