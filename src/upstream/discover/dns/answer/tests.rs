//! Questions in the wire format, and a name server that is scripted elsewhere.

