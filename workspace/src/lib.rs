//! Workspaces: containers through bollard, local sandboxes, the tool server, the reaper.
