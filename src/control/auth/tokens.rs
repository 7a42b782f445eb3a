//! API tokens: made, shown once, and turned into a [`Caller`].

use super::secret::{Fingerprint, FreshKey};
use super::{Control, Denied, Error};
use crate::catalog::{CredentialRow, TOKEN};
use crate::clock;
use crate::id::{ChannelId, HubName};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a token begins with.
const PREFIX: &str = "ms_";
/// How long a token is believed without asking; a token that is removed works for as long on
/// other nodes.
const BELIEVED: Duration = Duration::from_secs(2);
/// Characters of a token's description.
const NAME_MAX: usize = 200;

/// What a token allows. Each includes those after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To look.
    Read,
    /// To change channels.
    Channels,
    /// Tokens and the trail as well.
    Admin,
}

/// A token without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its public id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The only hub that it reaches, if it is limited.
    pub hub: Option<HubName>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it stops to work.
    pub expires_ms: Option<i64>,
}

/// A token to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The only hub that it reaches.
    pub hub: Option<HubName>,
    /// When it stops to work.
    pub expires_ms: Option<i64>,
}

/// What the first start of a server makes, to be shown once.
pub struct FirstStart {
    /// An administrator's token for the API.
    pub token: FreshKey,
    /// The key of the first channel.
    pub key: FreshKey,
}

#[derive(Serialize, Deserialize)]
struct About {
    name: String,
    scope: Scope,
    hub: Option<HubName>,
    expires_ms: Option<i64>,
}

/// Who asks, and what it may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// How the trail names it.
    pub name: String,
    scope: Scope,
    hub: Option<HubName>,
}

/// What something needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need<'a> {
    /// To look at one hub, or at what is in it.
    ReadHub(&'a HubName),
    /// To look at the whole server.
    ReadAll,
    /// To change what is in one hub.
    ChangeHub(&'a HubName),
    /// To change rights.
    Admin,
}

impl Caller {
    /// The server itself and who runs it.
    pub fn server(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scope: Scope::Admin,
            hub: None,
        }
    }

    /// The only hub that it reaches.
    pub fn hub(&self) -> Option<&HubName> {
        self.hub.as_ref()
    }

    /// Whether it may.
    pub fn may(&self, need: Need<'_>) -> Result<(), Denied> {
        let (scope, hub) = match need {
            Need::ReadHub(hub) => (Scope::Read, Some(hub)),
            Need::ReadAll => (Scope::Read, None),
            Need::ChangeHub(hub) => (Scope::Channels, Some(hub)),
            Need::Admin => (Scope::Admin, None),
        };
        if self.scope < scope {
            return Err(Denied::Beyond("its scope is smaller"));
        }
        match (&self.hub, hub) {
            (None, _) => Ok(()),
            (Some(own), Some(hub)) if own == hub => Ok(()),
            (Some(_), _) => Err(Denied::Beyond("it is for another hub")),
        }
    }
}

impl Control {
    /// Who shows this token.
    pub async fn caller(&self, secret: &str) -> Result<Caller, Denied> {
        let digest = Fingerprint::of(secret);
        let text = digest.to_string();
        let now = clock::monotonic();
        let cached = self.callers().get(&text);
        let fresh = |(at, _): &(Instant, Token)| now.saturating_duration_since(*at) < BELIEVED;
        if let Some((_, token)) = cached.as_ref().filter(|cached| fresh(cached)) {
            return token.caller();
        }
        let found = match self.catalog().credential_by_digest(TOKEN, &text).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "an API token cannot be looked up");
                let (_, token) = cached.ok_or(Denied::Away)?;
                return token.caller();
            }
        };
        let kept = found
            .filter(|row| Fingerprint::parse(&row.secret).is_some_and(|kept| kept.is(&digest)));
        let Some(token) = kept.as_ref().and_then(Token::of) else {
            self.callers().remove(&text);
            return Err(Denied::NoToken);
        };
        self.callers().insert(text, (now, token.clone()));
        token.caller()
    }

    /// Makes a token.
    pub async fn make_token(&self, by: &Caller, new: NewToken) -> Result<(Token, FreshKey), Error> {
        if new.name.chars().count() > NAME_MAX {
            return Err(Error::Invalid(format!(
                "a token's name has at most {NAME_MAX} characters"
            )));
        }
        let key = FreshKey::random_after(PREFIX);
        let id: String = FreshKey::random().reveal().chars().take(12).collect();
        let created_ms = clock::now().unix_ms();
        let about = About {
            name: new.name,
            scope: new.scope,
            hub: new.hub,
            expires_ms: new.expires_ms,
        };
        let row = CredentialRow {
            kind: TOKEN.to_owned(),
            id,
            secret: key.fingerprint().to_string(),
            about: super::super::json(&about),
            created_ms,
        };
        self.catalog().put_credential(&row).await?;
        self.note(by, "create token", &row.id, &row.about).await;
        let token = Token::of(&row).ok_or_else(|| Error::Invalid(row.about.clone()))?;
        Ok((token, key))
    }

    /// Makes an administrator's token and `channel` with a key, if there is no token at all yet.
    pub async fn first_start(&self, channel: &ChannelId) -> Result<Option<FirstStart>, Error> {
        if !self.tokens(None, 1).await?.is_empty() {
            return Ok(None);
        }
        let by = Caller::server("first start");
        self.put_if_missing(&by, channel).await?;
        let key = self.rotate_key(&by, channel).await?;
        let new = NewToken {
            name: "made at the first start".to_owned(),
            scope: Scope::Admin,
            hub: None,
            expires_ms: None,
        };
        let (_, token) = self.make_token(&by, new).await?;
        Ok(Some(FirstStart { token, key }))
    }

    /// The tokens after the id `after`.
    pub async fn tokens(&self, after: Option<&str>, limit: usize) -> Result<Vec<Token>, Error> {
        let rows = self.catalog().credentials(TOKEN, after, limit).await?;
        Ok(rows.iter().filter_map(Token::of).collect())
    }

    /// Removes a token, which works no more at once.
    pub async fn delete_token(&self, by: &Caller, id: &str) -> Result<(), Error> {
        if !self.catalog().delete_credential(TOKEN, id).await? {
            return Err(Error::NoToken(id.to_owned()));
        }
        self.callers().clear();
        self.note(by, "delete token", id, "{}").await;
        Ok(())
    }
}

impl Token {
    fn of(row: &CredentialRow) -> Option<Self> {
        let about: About = serde_json::from_str(&row.about).ok()?;
        Some(Self {
            id: row.id.clone(),
            name: about.name,
            scope: about.scope,
            hub: about.hub,
            created_ms: row.created_ms,
            expires_ms: about.expires_ms,
        })
    }

    fn caller(&self) -> Result<Caller, Denied> {
        let now = clock::now().unix_ms();
        if self.expires_ms.is_some_and(|expires| expires <= now) {
            return Err(Denied::NoToken);
        }
        Ok(Caller {
            name: format!("token {}", self.id),
            scope: self.scope,
            hub: self.hub.clone(),
        })
    }
}
