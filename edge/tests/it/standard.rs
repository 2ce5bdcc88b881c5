//! The services that every gRPC server has: health and reflection.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{
    v1::{
        ExtensionRequest, ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

use crate::support::{reason, start};

#[tokio::test]
async fn health_needs_no_credentials_and_follows_the_node() {
    let server = start(|_| {}).await;
    let mut client = HealthClient::new(server.connect().await);
    let ask = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    for service in ["", "docket.v1.OrderService", "grpc.health.v1.Health"] {
        let answer = client.check(ask(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = client.check(ask("docket.v1.Nothing")).await.unwrap_err();
    assert_eq!(
        (unknown.code(), reason(&unknown).as_str()),
        (Code::NotFound, "UNKNOWN_SERVICE")
    );
    let mut unknown = client.watch(ask("docket.v1.Nothing")).await.unwrap().into_inner();
    assert_eq!(
        unknown.message().await.unwrap().unwrap().status(),
        ServingStatus::ServiceUnknown
    );

    let mut watch = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    server.docket.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    let answer = client.check(ask("")).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
    server.stop().await;
    assert!(
        watch.message().await.unwrap().is_none(),
        "the watch ends with the server"
    );
}

#[tokio::test]
async fn reflection_shows_the_contract_without_credentials() {
    let server = start(|_| {}).await;
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let mut client = ServerReflectionClient::new(server.connect().await);
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "docket.v1.OrderService".into(),
        )),
    ];
    let mut answers = client
        .server_reflection_info(futures::stream::iter(questions))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let services: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in [
        "docket.v1.OrderService",
        "docket.v1.NodeService",
        "docket.v1.WebhookService",
        "grpc.health.v1.Health",
    ] {
        assert!(
            services.iter().any(|name| name == service),
            "{service} is not in {services:?}"
        );
    }
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(
        answer.message_response,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
    assert!(answers.message().await.unwrap().is_none());

    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(server.connect().await);
    let question = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let answers = older
        .server_reflection_info(futures::stream::iter([question]))
        .await
        .unwrap();
    assert!(answers.into_inner().message().await.unwrap().is_some());
    server.stop().await;
}

#[tokio::test]
async fn what_reflection_does_not_know_is_refused_with_a_reason() {
    let server = start(|_| {}).await;
    let unknown = (Code::NotFound, "UNKNOWN_SYMBOL");
    let cases = [
        (
            Some(MessageRequest::FileContainingSymbol("docket.v1.Nothing".into())),
            unknown,
        ),
        (
            Some(MessageRequest::FileByFilename("nothing.proto".into())),
            unknown,
        ),
        (
            Some(MessageRequest::FileContainingExtension(
                ExtensionRequest::default(),
            )),
            unknown,
        ),
        (None, (Code::InvalidArgument, "MALFORMED_MESSAGE")),
    ];
    let mut client = ServerReflectionClient::new(server.connect().await);
    for (message_request, expected) in cases {
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request,
        };
        let mut answers = client
            .server_reflection_info(futures::stream::iter([question.clone()]))
            .await
            .unwrap()
            .into_inner();
        let refused = answers.message().await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            expected,
            "{question:?}"
        );
        assert!(!refused.message().is_empty(), "{question:?}");
    }

    let question = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: None,
    };
    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(server.connect().await);
    let answers = older
        .server_reflection_info(futures::stream::iter([question]))
        .await;
    let refused = answers.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(reason(&refused), "MALFORMED_MESSAGE");
    server.stop().await;
}
