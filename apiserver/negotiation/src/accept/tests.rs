use http::Request;

use super::*;

fn asked(header: &str, query: &str, agent: &str) -> Asked {
    let mut request = Request::builder().uri(format!("/x?{query}")).header(USER_AGENT, agent);
    if !header.is_empty() {
        request = request.header(ACCEPT, header);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    Asked::of(&parts, &model::request_info::RequestInfo::of(&parts).query)
}

fn show(outcome: Result<Accept, StatusError>) -> String {
    match outcome {
        Ok(a) => format!("{:?} {:?} {}{}", a.encoding, a.form, a.form_version, if a.pretty { " pretty" } else { "" }),
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

const BUILT_IN: Offer = Offer { protobuf: true, forms: true };
const CUSTOM: Offer = Offer { protobuf: false, forms: true };

#[test]
fn the_first_clause_that_can_be_served_wins() {
    const NONE: &str = "406 only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    for (header, expect) in [
        ("", "Json Plain v1"),
        ("*/*", "Json Plain v1"),
        ("*", "Json Plain v1"),
        ("application/*", "Json Plain v1"),
        ("application/vnd.kubernetes.protobuf", "Protobuf Plain v1"),
        ("application/vnd.kubernetes.protobuf,application/json", "Protobuf Plain v1"),
        ("application/json;q=0.5,application/yaml", "Yaml Plain v1"),
        ("application/json;q=0.5, application/vnd.kubernetes.protobuf;q=0.8", "Protobuf Plain v1"),
        ("*/*, application/yaml", "Yaml Plain v1"),
        ("application/yaml;q=0", "Yaml Plain v1"),
        ("application/json;pretty=1", "Json Plain v1 pretty"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Json Table v1"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", "Json Table v1beta1"),
        ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", "Json Plain v1"),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            "Protobuf Metadata v1",
        ),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "Json MetadataList v1"),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", "Json Plain v1"),
        ("application/json;as=Table,application/yaml", "Yaml Plain v1"),
        ("application/vnd.kubernetes.protobuf;stream=watch", "Protobuf Plain v1"),
        ("text/html", NONE),
        ("application/json/x", NONE),
        ("application/json;as=Nonesuch;v=v1;g=meta.k8s.io", NONE),
    ] {
        assert_eq!(show(asked(header, "", "t").negotiate(BUILT_IN)), expect, "{header}");
    }
}

#[test]
fn custom_resources_have_no_protobuf_but_their_metadata_has() {
    for (header, expect) in [
        ("application/vnd.kubernetes.protobuf,application/json", "Json Plain v1"),
        ("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "Protobuf Metadata v1"),
    ] {
        assert_eq!(show(asked(header, "", "t").negotiate(CUSTOM)), expect, "{header}");
    }
    assert!(asked("application/vnd.kubernetes.protobuf", "", "t").negotiate(CUSTOM).is_err());
}

#[test]
fn watches_have_no_frames_in_yaml() {
    assert_eq!(
        show(asked("application/yaml", "", "t").negotiate_stream(BUILT_IN)),
        "406 only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
}

#[test]
fn errors_are_in_the_first_plain_encoding() {
    let error = |header| asked(header, "", "t").for_error().map(|a| a.encoding);
    assert_eq!(error("application/vnd.kubernetes.protobuf,application/json"), Some(Encoding::Protobuf));
    assert_eq!(error("application/json;as=Table;v=v1;g=meta.k8s.io,application/yaml"), Some(Encoding::Yaml));
    assert_eq!(error("text/html"), None);
}

#[test]
fn people_get_indented_json() {
    for (query, agent, pretty) in [
        ("", "kubectl", false),
        ("", "curl/8", true),
        ("pretty=false", "curl/8", false),
        ("pretty=true", "kubectl", true),
        ("pretty", "kubectl", false),
    ] {
        assert_eq!(asked("", query, agent).negotiate(BUILT_IN).map(|a| a.pretty).ok(), Some(pretty), "{query} {agent}");
    }
}
