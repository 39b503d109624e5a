//! The services of the public protocol that are not built in: each is answered by name, so that a client learns more than
//! "unimplemented".

use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;

macro_rules! absent {
    ($($service:ident = $name:literal;)*) => {
        $(
            #[derive(Clone)]
            struct $service;

            impl NamedService for $service {
                const NAME: &'static str = $name;
            }

            impl Service<http::Request<Body>> for $service {
                type Response = http::Response<Body>;
                type Error = Infallible;
                type Future = BoxFuture<Self::Response, Self::Error>;

                fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                    Poll::Ready(Ok(()))
                }

                fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                    let text = format!("kvstore: {} is not built in yet", request.uri().path().trim_start_matches('/'));
                    Box::pin(std::future::ready(Ok(Status::unimplemented(text).into_http())))
                }
            }
        )*

        pub(super) fn add_to(routes: Routes) -> Routes {
            routes$(.add_service($service))*
        }
    };
}

absent! {
    Watch = "etcdserverpb.Watch";
    Lease = "etcdserverpb.Lease";
    Auth = "etcdserverpb.Auth";
    Lock = "v3lockpb.Lock";
    Election = "v3electionpb.Election";
}
