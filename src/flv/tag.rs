//! Headers of audio and video tags.
