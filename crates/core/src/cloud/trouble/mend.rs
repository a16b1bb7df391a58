//! What a person does about a [`Trouble`]: the command, with the names that are known.
//!
//! Names go into a command only where they are harmless there; somebody will paste it into a shell.

use super::super::SENTINELS;
use super::super::options::{is_project, is_rule};
use super::{Kind, Trouble, bare};

/// What the guide's role `portcullis` permits (docs/guide/gcp-role.yaml); everything else is `portcullisProject`'s.
const OF_RULE: [&str; 4] = [
    "compute.firewalls.get",
    "compute.firewalls.update",
    "compute.firewalls.create",
    "compute.firewalls.delete",
];

/// Where it went wrong, for [`Trouble::mend`]. What is not known stands as a word in capitals in the commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The project that holds the rule
    pub project: Option<String>,
    /// The rule
    pub rule: String,
    /// The network that the rule is to lie on, by its name
    pub network: Option<String>,
    /// The machine's name
    pub instance: Option<String>,
    /// The machine's zone
    pub zone: Option<String>,
    /// The machine's own project, where it is another than the rule's (Shared VPC)
    pub home: Option<String>,
    /// The service account that we act as
    pub account: Option<String>,
}

impl Trouble {
    /// What a person does about it: the command, or what to look at. `None` where it passes, or is dealt with without
    /// anybody.
    #[must_use]
    pub fn mend(&self, place: &Place) -> Option<String> {
        Some(match self.kind {
            Kind::Scope => place.scopes(),
            Kind::Permission => place.role(self.permission()),
            Kind::ApiOff => format!("gcloud services enable compute.googleapis.com{}", place.project_flag()),
            Kind::Missing => place.missing(&self.message),
            Kind::Quota => place.quota(),
            Kind::Credentials => place.credentials(),
            Kind::Token => place.token(),
            Kind::Refused => place.refused(self)?,
            Kind::Rate | Kind::Busy | Kind::Entry(_) | Kind::Conflict | Kind::TooLarge(_) | Kind::Unknown => {
                return None;
            }
        })
    }
}

impl Place {
    /// A part of a command: what is known and harmless there, otherwise the word for it.
    fn part<'p>(value: Option<&'p str>, word: &'p str) -> &'p str {
        let fits = |text: &&str| {
            let is_harmless = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
            !text.is_empty() && text.len() <= 253 && !text.starts_with('-') && text.chars().all(is_harmless)
        };
        value.filter(fits).unwrap_or(word)
    }

    /// The project that holds the rule, as it may stand in a command; `PROJECT` where it is not known.
    #[must_use]
    pub fn project(&self) -> &str {
        Place::part(self.project.as_deref().filter(|name| is_project(name)), "PROJECT")
    }

    /// ` --project P`, where it is known.
    fn project_flag(&self) -> String {
        let name = self.project.as_deref().filter(|name| is_project(name));
        name.map(|name| format!(" --project {name}")).unwrap_or_default()
    }

    /// The account that we act as, as it may stand in a command; `SERVICE_ACCOUNT` where it is not known.
    #[must_use]
    pub fn account(&self) -> &str {
        Place::part(self.account.as_deref(), "SERVICE_ACCOUNT")
    }

    /// Scopes change only while the machine is stopped.
    fn scopes(&self) -> String {
        let home = self
            .home
            .as_deref()
            .or(self.project.as_deref())
            .filter(|name| is_project(name));
        let instance = format!(
            "{} --zone {}{}",
            Place::part(self.instance.as_deref(), "INSTANCE"),
            Place::part(self.zone.as_deref(), "ZONE"),
            home.map(|name| format!(" --project {name}")).unwrap_or_default()
        );
        format!(
            "reserve the machine's external address first, because it has to stop; then, from another machine: \
             gcloud compute instances stop {instance} && \
             gcloud compute instances set-service-account {instance} --service-account {} --scopes cloud-platform && \
             gcloud compute instances start {instance}; or, without a stop, give the action a token_file or set \
             GOOGLE_APPLICATION_CREDENTIALS",
            self.account()
        )
    }

    /// The guide's two roles: what is done to the rule is bound to its name, the rest cannot be.
    fn role(&self, permission: Option<&str>) -> String {
        let (project, account) = (self.project(), self.account());
        let is_of_rule = permission.is_none_or(|name| OF_RULE.contains(&name));
        let (role, condition) = if is_of_rule {
            let rule = Some(self.rule.as_str()).filter(|name| is_rule(name)).unwrap_or("RULE");
            let start = format!("projects/{project}/global/firewalls/{rule}");
            let condition = format!("\"title={rule},expression=resource.name.startsWith('{start}')\"");
            ("portcullis", condition)
        } else {
            ("portcullisProject", "None".to_owned())
        };
        let what = permission.map(|name| format!(" has {name},")).unwrap_or_default();
        format!(
            "gcloud projects add-iam-policy-binding {project} --member serviceAccount:{account} \
             --role projects/{project}/roles/{role} --condition {condition}; the role {role}{what} is made as in step 2 of \
             docs/guide/gcp.md, and portcullis gcp doctor prints the command"
        )
    }

    /// The answer names what there is none of: `projects/P/global/firewalls/R`.
    fn missing(&self, message: &str) -> String {
        let project = self.project_flag();
        if message.contains("/networks/") {
            return format!("the network does not exist; gcloud compute networks list{project} shows which do");
        }
        let is_project = message.contains("project") && !message.contains("/firewalls/");
        if is_project {
            return format!(
                "the project does not exist, or its name is another: gcloud projects describe {}",
                self.project()
            );
        }
        let rule = Some(self.rule.as_str()).filter(|name| is_rule(name)).unwrap_or("RULE");
        format!(
            "gcloud compute firewall-rules create {rule}{project} --network {} --direction INGRESS --action DENY --rules all \
             --priority 10 --source-ranges {}",
            Place::part(self.network.as_deref(), "default"),
            SENTINELS[0]
        )
    }

    fn quota(&self) -> String {
        let project = self.project();
        format!(
            "the project may have no more firewall rules: lower max_rules, delete rules that nobody needs, or ask for more \
             (FIREWALLS) at https://console.cloud.google.com/iam-admin/quotas?project={project}; what is used: gcloud compute \
             project-info describe --project {project} --flatten 'quotas[]' --filter quotas.metric=FIREWALLS --format 'table(quotas.limit,quotas.usage)'"
        )
    }

    fn credentials(&self) -> String {
        "there are no credentials: on a virtual machine of Google's attach a service account with the scope cloud-platform; \
         elsewhere set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the action a token_file"
            .to_owned()
    }

    fn token(&self) -> String {
        let project = self
            .home
            .as_deref()
            .or(self.project.as_deref())
            .filter(|name| is_project(name));
        format!(
            "the API does not take our token: look whether the service account is there and not disabled, gcloud iam \
             service-accounts describe {}{}, and whether the clock is right; a token_file holds a token for an hour at most",
            self.account(),
            project.map(|name| format!(" --project {name}")).unwrap_or_default()
        )
    }

    fn refused(&self, trouble: &Trouble) -> Option<String> {
        let reason = bare(&trouble.reason);
        if reason.contains("billing") {
            let project = self.project();
            return Some(format!(
                "the project has no billing account: gcloud billing projects link {project} --billing-account ACCOUNT"
            ));
        }
        let is_policy = ["securitypolicy", "vpcservicecontrols"]
            .into_iter()
            .any(|part| reason.contains(part));
        if is_policy || trouble.message.contains("constraints/") {
            return Some("a policy of the organisation forbids it: only its administrators can allow it".to_owned());
        }
        let is_strange = reason.is_empty() && matches!(trouble.status, Some(300..=399 | 403 | 404));
        is_strange
            .then(|| "it is not the API that answers: look at the endpoint, and at proxies on the way to it".to_owned())
    }
}
