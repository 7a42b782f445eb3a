//! Where publishers may come from: networks of addresses, for all channels, a hub, or a channel.

use super::Denied;
use crate::control::Control;
use crate::id::ChannelId;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

/// Stands for all channels.
pub const EVERYWHERE: &str = "*";

/// Lists of networks, by `*`, a hub, or a channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Publishers come only from these: the list of the channel counts, without one that of its hub,
    /// without one that of all.
    pub from: BTreeMap<String, Vec<IpNet>>,
    /// Publishers never come from these, whichever list they are in.
    pub not_from: BTreeMap<String, Vec<IpNet>>,
}

impl Sources {
    /// Whether a publisher of `channel` may come from `address`.
    pub fn allow(&self, channel: &ChannelId, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let (own, hub) = (channel.to_string(), channel.hub.as_str());
        let names = [own.as_str(), hub, EVERYWHERE];
        let within = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&address));
        let denied = names
            .iter()
            .filter_map(|name| self.not_from.get(*name))
            .any(within);
        let allowed = names.iter().find_map(|name| self.from.get(*name));
        !denied && allowed.is_none_or(within)
    }
}

impl Control {
    /// From now on publishers come from there.
    pub fn set_sources(&self, sources: Sources) {
        let kept = self.auth().sources.write();
        *kept.unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
    }

    /// Whether somebody who may publish to a channel may do so from `address`.
    pub fn may_publish_from(&self, channel: &ChannelId, address: IpAddr) -> Result<(), Denied> {
        let sources = self.auth().sources.read();
        let sources = sources.unwrap_or_else(PoisonError::into_inner).clone();
        match sources.allow(channel, address) {
            true => Ok(()),
            false => Err(Denied::Source(channel.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_list_counts_and_a_denial_always() {
        let lists = |pairs: &[(&str, &[&str])]| {
            let parse = |net: &&str| net.parse().expect("a network");
            let list = |nets: &[&str]| nets.iter().map(parse).collect();
            pairs
                .iter()
                .map(|(name, nets)| ((*name).to_owned(), list(nets)))
                .collect()
        };
        let sources = Sources {
            from: lists(&[
                ("*", &["10.0.0.0/8", "192.0.2.0/24"]),
                ("studio", &["10.1.0.0/16"]),
                ("studio/open", &["0.0.0.0/0", "::/0"]),
            ]),
            not_from: lists(&[("*", &["10.9.0.0/16"]), ("studio", &["10.1.1.1/32"])]),
        };
        let check = |channel: &str, address: &str, expected: bool| {
            let channel = channel.parse().expect("a channel");
            let found = sources.allow(&channel, address.parse().expect("an address"));
            assert_eq!(found, expected, "{channel} from {address}");
        };
        check("live/a", "10.2.3.4", true);
        check("live/a", "::ffff:10.2.3.4", true);
        check("live/a", "198.51.100.1", false);
        check("live/a", "10.9.3.4", false);
        check("studio/a", "10.2.3.4", false);
        check("studio/a", "10.1.3.4", true);
        check("studio/a", "10.1.1.1", false);
        check("studio/open", "2001:db8::1", true);
        check("studio/open", "10.9.3.4", false);
        let anywhere = Sources::default();
        assert!(anywhere.allow(&"live/a".parse().expect("a channel"), [192, 0, 2, 1].into()));
    }
}
