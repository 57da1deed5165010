//! What this server believes about its group's role, and what it may therefore do. Pure.

use postern_protocol::role::{GroupRole, Mode, RoleDocument, RoleVersion, SignedRole, StoreName};

/// What this server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The document names it, but it has not yet asked its peer for a higher one.
    Starting,
    /// It accepts transactions.
    Active,
    /// Another server is active.
    Standby,
    /// The document names it, but with a store that is not its present one, or that was found to
    /// lack what it had: only an operator can make it active again.
    SetAside,
}

impl State {
    /// A stable word for logs and JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Standby => "standby",
            Self::SetAside => "set_aside",
        }
    }
}

/// What to do with a document that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Obey it, once it is durable: it is higher.
    Adopt(RoleVersion),
    /// It is the present one, or lower.
    Keep,
    /// It says nothing of this server's group.
    Irrelevant,
}

/// Whose making a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// This process's: it may act under it.
    Yes,
    /// Somebody else's, or an earlier process's of this server.
    No,
}

/// A server's belief: the highest document that it has stored, and who it is itself.
#[derive(Clone, Debug)]
pub struct Belief {
    me: StoreName,
    group: String,
    signed: SignedRole,
    document: RoleDocument,
    role: GroupRole,
    confirmed: bool,
    behind: bool,
}

impl Belief {
    /// Starts from a stored document; `None` where it says nothing of the group.
    pub fn new(
        me: StoreName,
        group: &str,
        signed: SignedRole,
        document: RoleDocument,
    ) -> Option<Self> {
        let role = document.groups.get(group)?.clone();
        Some(Self {
            me,
            group: group.to_owned(),
            signed,
            document,
            role,
            confirmed: false,
            behind: false,
        })
    }

    /// What this server may do.
    pub fn state(&self) -> State {
        if self.role.active != self.me.server {
            State::Standby
        } else if self.behind || !self.role.in_sync.contains(&self.me) {
            State::SetAside
        } else if self.confirmed {
            State::Active
        } else {
            State::Starting
        }
    }

    /// The document as it travels.
    pub fn signed(&self) -> &SignedRole {
        &self.signed
    }

    /// The document.
    pub fn document(&self) -> &RoleDocument {
        &self.document
    }

    /// What it says of the group.
    pub fn role(&self) -> &GroupRole {
        &self.role
    }

    /// This server with its store.
    pub fn me(&self) -> &StoreName {
        &self.me
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What to do with a verified document.
    pub fn weigh(&self, document: &RoleDocument) -> Verdict {
        match document.groups.get(&self.group) {
            None => Verdict::Irrelevant,
            Some(role) if role.version() > self.role.version() => Verdict::Adopt(role.version()),
            Some(_) => Verdict::Keep,
        }
    }

    /// The belief once a higher document is durable.
    ///
    /// Where the role changes by an operator's hand, a document that was just shown by another, or just
    /// made, needs no further asking around. Where it changes by itself, a reign ends with its process:
    /// a document that this process did not make gives it no right to begin one.
    #[must_use]
    pub fn adopted(&self, signed: SignedRole, document: RoleDocument, own: Own) -> Option<Self> {
        let next = Self::new(self.me.clone(), &self.group, signed, document)?;
        // Another revision of a reign changes nothing of what its store lacks, nor of its right.
        let is_same = next.role.role_term == self.role.role_term;
        let (behind, goes_on) = (self.behind && is_same, self.confirmed && is_same);
        let confirmed = own == Own::Yes
            || goes_on
            || next.role.mode != Mode::Automatic
            || next.role.active != self.me.server;
        Some(Self { confirmed, behind, ..next })
    }

    /// The belief once this server's store was found to lack what it had acknowledged.
    #[must_use]
    pub fn fallen_behind(&self) -> Self {
        Self { behind: true, ..self.clone() }
    }

    /// The belief with another store.
    #[must_use]
    pub fn with_store(&self, me: StoreName) -> Self {
        Self { me, ..self.clone() }
    }

    /// The belief once the peer was asked for a higher document, or could not be.
    #[must_use]
    pub fn confirmed(&self) -> Self {
        Self { confirmed: true, ..self.clone() }
    }
}
