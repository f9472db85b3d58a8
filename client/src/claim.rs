//! Claiming: the node that answers becomes the owner of a segment, without its bytes.

use std::time::Duration;

use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Kind};

use crate::api::{ClaimRequest, Claimed, Error};
use crate::dial::Client;
use crate::request;
use crate::retry::{Failure, Retry};

/// A claim.
#[derive(Clone, Debug)]
pub struct ClaimOptions {
    /// What to own.
    pub name: Name,
    /// For how long nobody else takes it over, if it is not renewed; none: no lease.
    pub lease: Option<Duration>,
    /// The epoch that must stand now: of several that saw the same one only the first gets it.
    pub if_epoch: Option<Epoch>,
    /// Registers a name that is new, for such bytes.
    pub create: Option<Kind>,
    /// The same at every retry.
    pub request: RequestId,
}

impl ClaimOptions {
    /// Without a lease, of a name that exists, whatever its epoch.
    pub fn new(name: Name) -> Self {
        Self { name, lease: None, if_epoch: None, create: None, request: request::new_id() }
    }
}

impl Client {
    /// Makes the node that answers the owner.
    ///
    /// The request means something else on every node, so each is asked under an id of its own, derived from
    /// the request's.
    ///
    /// ```no_run
    /// # async fn example(client: cairn_client::dial::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use cairn_client::api::Code;
    /// use cairn_client::claim::ClaimOptions;
    ///
    /// match client.claim(ClaimOptions::new("jobs/one".parse()?)).await {
    ///     Ok(claimed) => println!("{} owns it, in epoch {}", claimed.owner, claimed.epoch),
    ///     Err(error) if error.code == Code::NotFound => println!("nothing was saved yet"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn claim(&self, options: ClaimOptions) -> Result<Claimed, Error> {
        let mut retry = Retry::new(self.timeout(), true);
        loop {
            match self.claim_once(&mut retry, options.clone()).await {
                Ok(claimed) => return Ok(claimed),
                Err(failure) => retry.again(failure).await?,
            }
        }
    }

    async fn claim_once(&self, retry: &mut Retry, options: ClaimOptions) -> Result<Claimed, Failure> {
        let session = self.session(retry.left()).await?;
        let hello = self.greet(&session, retry).await?;
        retry.at(hello.incarnation);
        let ClaimOptions { name, lease, if_epoch, create, request } = options;
        let request = request.step(&hello.incarnation.to_string());
        let request = ClaimRequest { request, wait: self.wait_in_all(), name, lease, if_epoch, create };
        let limit = self.share().min(retry.left());
        self.ask(&session, limit, |client, context| async move { client.claim(context, request).await }).await
    }
}
