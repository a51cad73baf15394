//! Attempt machine, session link, actors, shipper.
