//! Where publishers and viewers may come from: networks of addresses, for all channels, a hub, or a
//! channel, by the configuration and by the channel's own settings.

use super::Denied;
use crate::control::settings::{ChannelSettings, Networks};
use crate::control::{Control, Error};
use crate::id::ChannelId;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

/// Stands for all channels.
pub const EVERYWHERE: &str = "*";

/// Networks of publishers and of viewers, as the configuration has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Of publishers.
    pub publish: Lists,
    /// Of viewers.
    pub play: Lists,
}

/// Lists of networks, by `*`, a hub, or a channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lists {
    /// They come only from these: what is set of the channel counts, without that the list of the
    /// channel, of its hub, of all.
    pub from: BTreeMap<String, Vec<IpNet>>,
    /// They never come from these, whichever list they are in.
    pub not_from: BTreeMap<String, Vec<IpNet>>,
}

impl Lists {
    /// Whether somebody may come from `address` to `channel`, of which `own` is set.
    fn allow(&self, channel: &ChannelId, own: Own<'_>, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let names = [&channel.to_string(), channel.hub.as_str(), EVERYWHERE];
        let within = |nets: &Networks| nets.iter().any(|net| net.contains(&address));
        let mut denied = names.iter().filter_map(|name| self.not_from.get(*name));
        let mut allowed = names.iter().filter_map(|name| self.from.get(*name));
        let allowed = own.from.or_else(|| allowed.next());
        let denied = own.not_from.is_some_and(within) || denied.any(within);
        !denied && allowed.is_none_or(within)
    }

    /// Whether it depends on the address at all.
    fn limit(&self, channel: &ChannelId, own: Own<'_>) -> bool {
        if own.from.is_some() || own.not_from.is_some() {
            return true;
        }
        if self.from.is_empty() && self.not_from.is_empty() {
            return false;
        }
        let names = [&channel.to_string(), channel.hub.as_str(), EVERYWHERE];
        let has = |lists: &BTreeMap<_, _>| names.iter().any(|name| lists.contains_key(*name));
        has(&self.from) || has(&self.not_from)
    }
}

/// What is set of the channel itself.
#[derive(Clone, Copy, Default)]
struct Own<'a> {
    from: Option<&'a Networks>,
    not_from: Option<&'a Networks>,
}

impl<'a> Own<'a> {
    const fn of_publishers(settings: &'a ChannelSettings) -> Self {
        Self {
            from: settings.publish_from.as_ref(),
            not_from: settings.publish_not_from.as_ref(),
        }
    }

    const fn of_viewers(settings: &'a ChannelSettings) -> Self {
        Self {
            from: settings.play_from.as_ref(),
            not_from: settings.play_not_from.as_ref(),
        }
    }
}

/// Who else gets the same answer as a viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Whoever asks the same: shared caches may keep it.
    All,
    /// Those of some addresses.
    Some,
}

impl Control {
    /// From now on publishers and viewers come from there.
    pub fn set_sources(&self, sources: Sources) {
        let kept = self.auth().sources.write();
        *kept.unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
    }

    fn sources(&self) -> Arc<Sources> {
        let sources = self.auth().sources.read();
        sources.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody who may publish to a channel may do so from `address`.
    pub fn may_publish_from(&self, grant: &super::Grant, address: IpAddr) -> Result<(), Denied> {
        let channel = &grant.channel;
        self.check_publisher(&channel.id, Some(&channel.settings), address)
    }

    pub(super) fn check_publisher(
        &self,
        id: &ChannelId,
        settings: Option<&ChannelSettings>,
        address: IpAddr,
    ) -> Result<(), Denied> {
        let own = settings.map_or_else(Own::default, Own::of_publishers);
        match self.sources().publish.allow(id, own, address) {
            true => Ok(()),
            false => Err(Denied::Source(id.clone(), address.to_canonical())),
        }
    }

    /// Whether a channel is played from `address`; one that is not known is in no network.
    pub async fn may_play_from(
        &self,
        id: &ChannelId,
        address: Option<IpAddr>,
    ) -> Result<Audience, Error> {
        match self.live_settings(id) {
            Some(channel) => Ok(self.check_viewer(id, Some(&channel.settings), address)?),
            None => {
                // Of a channel that was deleted the media stay, and what the configuration says.
                let known = self.known(id).await?;
                let settings = known.as_ref().map(|known| &known.channel.settings);
                Ok(self.check_viewer(id, settings, address)?)
            }
        }
    }

    /// Whether a channel that is live may be told of to somebody at `address`.
    pub fn may_see_from(&self, id: &ChannelId, address: Option<IpAddr>) -> bool {
        let channel = self.live_settings(id);
        let settings = channel.as_ref().map(|channel| &channel.settings);
        self.check_viewer(id, settings, address).is_ok()
    }

    pub(super) fn check_viewer(
        &self,
        id: &ChannelId,
        settings: Option<&ChannelSettings>,
        address: Option<IpAddr>,
    ) -> Result<Audience, Denied> {
        let own = settings.map_or_else(Own::default, Own::of_viewers);
        let lists = &self.sources().play;
        if !lists.limit(id, own) {
            return Ok(Audience::All);
        }
        match address {
            Some(address) if lists.allow(id, own, address) => Ok(Audience::Some),
            address => Err(Denied::Viewer(
                id.clone(),
                address.map_or_else(
                    || "an unknown address".to_owned(),
                    |address| address.to_canonical().to_string(),
                ),
            )),
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
        let sources = Lists {
            from: lists(&[
                ("*", &["10.0.0.0/8", "192.0.2.0/24"]),
                ("studio", &["10.1.0.0/16"]),
                ("studio/open", &["0.0.0.0/0", "::/0"]),
            ]),
            not_from: lists(&[("*", &["10.9.0.0/16"]), ("studio", &["10.1.1.1/32"])]),
        };
        let check = |channel: &str, address: &str, expected: bool| {
            let channel = channel.parse().expect("a channel");
            let address = address.parse().expect("an address");
            let found = sources.allow(&channel, Own::default(), address);
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
        let live: ChannelId = "live/a".parse().expect("a channel");
        let address = [192, 0, 2, 1].into();
        assert!(Lists::default().allow(&live, Own::default(), address));
        assert!(!Lists::default().limit(&live, Own::default()));

        // What is set of the channel comes before any list, but not before a denial.
        let nets = |nets: &[&str]| Some(nets.iter().map(|net| net.parse().expect("one")).collect());
        let (all, mine) = (nets(&["0.0.0.0/0"]), nets(&["192.0.2.1/32"]));
        let check = |from: &Option<Networks>, not_from: &Option<Networks>, address, expected| {
            let own = Own {
                from: from.as_ref(),
                not_from: not_from.as_ref(),
            };
            assert!(sources.limit(&live, own));
            let found = sources.allow(&live, own, address);
            assert_eq!(found, expected, "{from:?} {not_from:?}");
        };
        check(&None, &None, [198, 51, 100, 1].into(), false);
        check(&all, &None, [198, 51, 100, 1].into(), true);
        check(&all, &None, [10, 9, 0, 1].into(), false);
        check(&None, &mine, address, false);
        check(&all, &mine, address, false);
        check(&mine, &None, address, true);
    }
}
