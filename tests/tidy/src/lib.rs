//! Checks of the project itself, for which no compiler looks.
