//! A worker: runs attempts that a coordinator grants, in workspaces of its machine, and writes what is true about them into the run
//! folder. Owns the attempt machine, the session with the coordinator and the actors around both; must not know how runs are planned,
//! sharded or reported.

mod clock;
mod deadline;
mod judge;
mod machine;
mod record;
mod session;
mod shipping;
