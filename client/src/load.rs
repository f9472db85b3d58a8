//! Loading: a node brings a verified copy into its local storage, and the caller gets a file.
//!
//! [`load`](crate::api::Cairn::load) is asked again and again until it is done. If an output was asked for,
//! [`deliver`](crate::deliver) then copies from the node's local storage when that is on this machine, and else
//! fetches over its data plane. A copy that does not verify while it is delivered is loaded once more, anew.

use std::time::Duration;

use cairn_store::id::{Incarnation, RequestId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;

use crate::api::{Code, Error, LoadRequest, Loaded};
use crate::deliver::{Delivery, Output, Undelivered};
use crate::dial::Client;
use crate::fault::Fault;
use crate::fetch::Range;
use crate::request;
use crate::retry::Retry;
use crate::save::{Observer, Phase, Step, Stop, blocking, follow};

/// A load.
pub struct LoadOptions {
    /// What to load.
    pub name: Name,
    /// Which version; none: the newest.
    pub version: Option<Version>,
    /// Where to load it; none: on the node asked.
    pub on: Option<NodeName>,
    /// Become the owner too.
    pub claim: bool,
    /// With a claim: for how long nobody else takes it over, if it is not renewed.
    pub lease: Option<Duration>,
    /// Without a quorum: it may be old, and gives no ownership.
    pub stale: bool,
    /// Only from the global tier.
    pub from_tier: bool,
    /// Where the bytes go; none: they stay in the node's local storage, at [`Loaded::path`].
    pub output: Option<Output>,
    /// Only these bytes.
    pub range: Option<Range>,
    /// The same at every retry.
    pub request: RequestId,
    /// Is told how far it is.
    pub observer: Option<Observer>,
}

impl LoadOptions {
    /// The newest version, on the node asked, to stay in its local storage.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            version: None,
            on: None,
            claim: false,
            lease: None,
            stale: false,
            from_tier: false,
            output: None,
            range: None,
            request: request::new_id(),
            observer: None,
        }
    }
}

/// How many copies are tried for one output: a copy can be bad, or its version retired before it was opened.
const DELIVERIES_MAX: u32 = 4;

impl Client {
    /// Loads a version, and delivers it if an output is given.
    ///
    /// The client's time-out is time without progress. May be dropped at any point: what was begun at the output is
    /// taken away, and the node may go on with its part. An output file appears whole and durable, or not at all. If
    /// the load claimed and the delivery failed, the claim stands: the error's outcome is unknown.
    ///
    /// ```no_run
    /// # async fn example(client: cairn_client::dial::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use cairn_client::deliver::Output;
    /// use cairn_client::load::LoadOptions;
    ///
    /// let output = Output::File { path: "state.db".into(), force: false, link: false };
    /// let options = LoadOptions { output: Some(output), ..LoadOptions::new("jobs/one".parse()?) };
    /// let loaded = client.load(options).await?;
    /// println!("version {}, {} verified bytes", loaded.version, loaded.size);
    /// # Ok(()) }
    /// ```
    pub async fn load(&self, options: LoadOptions) -> Result<Loaded, Fault> {
        let LoadOptions { name, version, on, claim, lease, stale, from_tier, output, range, request, observer } =
            options;
        if let Some(output) = output.clone() {
            // Before any node is asked: nothing is claimed for an output that cannot be written.
            let (checked, wanted) = (output.clone(), range.is_some());
            let depends = blocking(move || checked.check(wanted).map(|()| checked.depends(wanted))).await??;
            // Without a claim it is early enough when the load tells the kind.
            if depends && claim {
                output.check_kind(self.show(&name).await?.summary.kind, wanted)?;
            }
        }
        let wait = self.wait_in_all();
        let mut asked = LoadRequest { request, wait, name, version, on, claim, lease, stale, from_tier };
        let mut loaded = self.bring(&asked, observer.as_ref()).await?;
        let Some(output) = output else { return Ok(loaded) };
        for _ in 1..DELIVERIES_MAX {
            match self.deliver(&asked, &loaded, &output, range, observer.as_ref()).await {
                // Bad, or retired meanwhile: from elsewhere, or the newest again; what was claimed is claimed.
                Err(Undelivered::BadCopy(_)) => {
                    let version = if loaded.claimed { Some(loaded.version) } else { asked.version };
                    asked = LoadRequest { request: request::new_id(), version, claim: false, lease: None, ..asked };
                    let better = self.bring(&asked, observer.as_ref()).await;
                    let better = better.map_err(|fault| if loaded.claimed { fault.unknown() } else { fault })?;
                    loaded = Loaded { claimed: loaded.claimed, ..better };
                }
                delivered => return delivery_of(loaded, delivered),
            }
        }
        let delivered = self.deliver(&asked, &loaded, &output, range, observer.as_ref()).await;
        delivery_of(loaded, delivered)
    }

    async fn deliver(
        &self,
        asked: &LoadRequest,
        loaded: &Loaded,
        output: &Output,
        range: Option<Range>,
        observer: Option<&Observer>,
    ) -> Result<(), Undelivered> {
        Delivery::new(id_at(asked, loaded.incarnation), loaded, output.clone(), range, observer.cloned())?
            .carry_out(self)
            .await
    }

    /// Asks until the copy is in the node's local storage.
    async fn bring(&self, request: &LoadRequest, observer: Option<&Observer>) -> Result<Loaded, Fault> {
        let mut retry = Retry::new(self.timeout(), request.claim);
        loop {
            match self.bring_once(request, observer, &mut retry).await {
                Ok(loaded) => return Ok(loaded),
                Err(Stop::Fault(fault)) => return Err(retry.fault(fault)),
                Err(Stop::Failure(failure)) => retry.again(failure).await?,
            }
        }
    }

    async fn bring_once(
        &self,
        request: &LoadRequest,
        observer: Option<&Observer>,
        retry: &mut Retry,
    ) -> Result<Loaded, Stop> {
        let session = self.session(retry.left()).await?;
        let mut request = request.clone();
        if request.on.is_none() {
            let hello = self.greet(&session, retry).await?;
            retry.at(hello.incarnation);
            request.request = id_at(&request, hello.incarnation);
        }
        let observe = |done, total| {
            if let Some(observer) = observer {
                observer(Step { phase: Phase::Sending, done, total });
            }
        };
        follow(self, &session, retry, observe, |rpc, context| {
            let request = request.clone();
            async move { rpc.load(context, request).await }
        })
        .await
    }
}

/// The id under which a node is asked. "Here" is another place on every node, so each has an id of its own.
fn id_at(request: &LoadRequest, node: Incarnation) -> RequestId {
    match request.on {
        Some(_) => request.request,
        None => request.request.step(&node.to_string()),
    }
}

/// What a delivery makes of a load.
fn delivery_of(loaded: Loaded, delivered: Result<(), Undelivered>) -> Result<Loaded, Fault> {
    match delivered.map_err(Undelivered::into_fault) {
        Ok(()) => Ok(loaded),
        Err(fault) if loaded.claimed => Err(fault.unknown()),
        Err(fault) => Err(fault),
    }
}

/// No copy gave the right bytes.
pub(crate) fn corrupt(name: &Name, version: Version, why: &str) -> Fault {
    Error::new(Code::Corrupt, format!("version {version} of {name} does not verify: {why}"))
        .hint("`cairn show` tells which nodes hold copies")
        .into()
}
