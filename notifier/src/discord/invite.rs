//! The links that add the bot to a server, with exactly the permissions that it needs.

use serde::Deserialize;

use super::{
    BotToken,
    api::Api,
    limiter::Route,
    permissions::{
        EMBED_LINKS, MENTION_EVERYONE, READ_MESSAGE_HISTORY, SEND_MESSAGES, SEND_MESSAGES_IN_THREADS, VIEW_CHANNEL,
    },
};

const NEEDED: u64 = VIEW_CHANNEL | SEND_MESSAGES | SEND_MESSAGES_IN_THREADS | EMBED_LINKS | READ_MESSAGE_HISTORY;

/// Asks Discord who the bot is, and gives the links as text to print.
pub async fn invitation(token: &BotToken, api_url: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Application {
        id: String,
    }
    let api = Api::new(api_url, token)?;
    let route = |template| Route { template, major: 0 };
    // For bots of before 2016 the application's id is not the user's.
    let application: Result<Application, _> = api.get(route("GET /applications/@me"), "/applications/@me").await;
    let named = match application {
        Ok(application) => application,
        Err(_) => {
            let user: Result<Application, _> = api.get(route("GET /users/@me"), "/users/@me").await;
            user.map_err(|error| format!("cannot read the bot's application id from {api_url}: {error}"))?
        }
    };
    Ok(format!(
        "To add the bot without pings:\n{}\nTo add the bot with pings of @here, @everyone and roles:\n{}\n",
        link(&named.id, false),
        link(&named.id, true)
    ))
}

/// Opened in a browser by somebody who may manage the server.
pub(super) fn link(application: &str, pings: bool) -> String {
    let permissions = if pings { NEEDED | MENTION_EVERYONE } else { NEEDED };
    format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot%20applications.commands&permissions={permissions}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_is_needed() {
        assert!(link("5", false).ends_with("client_id=5&scope=bot%20applications.commands&permissions=274877991936"));
        assert!(link("5", true).ends_with("&permissions=274878123008"));
    }
}
