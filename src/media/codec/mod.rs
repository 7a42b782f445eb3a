//! Reading of what codecs say of themselves: parameter sets and configuration records.
