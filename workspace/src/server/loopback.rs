//! Bringing up loopback in a network namespace of our own, which begins with it down.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::AsRawFd;

/// `RTM_NEWLINK`.
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_ACK: u16 = 5;
/// `NLMSG_ERROR`, which is also how success is told.
const ERROR: u16 = 2;
/// `IFF_UP`.
const UP: u32 = 1;
/// Loopback is the first device of every network namespace.
const LOOPBACK: i32 = 1;

/// Brings loopback up.
pub(super) fn up() -> std::io::Result<()> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    // struct nlmsghdr: length, type, flags, sequence, port.
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_ACK.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // struct ifinfomsg: family, padding, type, index, flags, which flags to change.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut reply = [0_u8; 256];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    let Some(([_, _, _, _, kind_low, kind_high], [error_0, error_1, error_2, error_3])) = reply[..length]
        .first_chunk::<6>()
        .zip(reply[..length].get(16..20).and_then(<[u8]>::first_chunk::<4>))
    else {
        return Err(std::io::Error::other("the answer about loopback was cut"));
    };
    let code = i32::from_ne_bytes([*error_0, *error_1, *error_2, *error_3]);
    if u16::from_ne_bytes([*kind_low, *kind_high]) == ERROR && code == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(-code))
    }
}
