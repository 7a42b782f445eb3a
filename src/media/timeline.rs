//! Continuous time from the 32-bit milliseconds of the wire.
