"""Stands between the host and a plugin's hooks.

An exception that nobody caught is logged with its traceback before it ends the call, so that its author reads what it
was and on which line. `Err` is no mistake but an answer, and passes.
"""

import functools
import traceback

from componentize_py_types import Err
from wit_world.imports import log


def guard(plugin, name):
    """The class of a hook, with every exception logged that is no answer."""
    served = getattr(plugin, name, None)
    if served is None:
        raise ImportError(f"plugin.py has no class {name}, whose hook plugin.toml names")
    return _guarded(served)


def init(lifecycle):
    """The `init` of a plugin, which may have none."""
    return _guarded(lifecycle or _Plain)


class _Plain:
    def init(self, config: str) -> None:
        pass


def _guarded(served):
    methods = {
        name: _logged(getattr(served, name))
        for name in dir(served)
        if not name.startswith("_") and callable(getattr(served, name))
    }
    return type(served.__name__, (served,), methods)


def _logged(method):
    @functools.wraps(method)
    def run(*given):
        try:
            return method(*given)
        except Err:
            raise
        except BaseException as error:
            # The first frame is this file's.
            trace = error.__traceback__.tb_next if error.__traceback__ else None
            lines = traceback.format_exception(type(error), error, trace)
            log.log(log.Level.ERROR, "".join(lines).rstrip())
            raise

    return run
