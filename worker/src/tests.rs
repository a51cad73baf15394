//! Whole attempts in a small world: real machines, actors, agent, folder; scripted models, fake workspaces, a store in memory, and
//! time that passes only when nothing else happens.

mod flow;
mod leases;
mod link;
mod outage;
mod steps;
mod world;
