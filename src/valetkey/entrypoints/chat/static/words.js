// What the page says by itself.

export const TYPES = {
  bearer_token: {
    title: "Bearer token",
    hint: "Sent as Authorization: Bearer …",
    fields: [{ name: "token", label: "Token", secret: true, required: true }],
  },
  basic_auth: {
    title: "Basic auth",
    hint: "Sent as Authorization: Basic …",
    fields: [
      { name: "username", label: "Name", required: true },
      { name: "password", label: "Password", secret: true, required: true },
    ],
  },
  api_key: {
    title: "API key",
    hint: "Sent in the header that you name.",
    fields: [
      { name: "api_key", label: "API key", secret: true, required: true },
      { name: "api_key_header", label: "Header", value: "X-API-Key", required: true },
    ],
  },
  oauth2: {
    title: "OAuth2",
    hint: "The server gets tokens with these client credentials, and renews them.",
    fields: [
      { name: "client_id", label: "Client ID", required: true },
      { name: "client_secret", label: "Client secret", secret: true, required: true },
      { name: "token_url", label: "Token URL", type: "url", placeholder: "https://…", required: true },
      { name: "scope", label: "Scope", hint: "Several with a space between; may be empty." },
    ],
  },
  custom: { title: "Custom headers", hint: "Each is sent with every call of a tool.", fields: [] },
};

export const titleOf = (type) =>
  TYPES[type === "oauth2_client_credentials" ? "oauth2" : type]?.title ?? String(type ?? "");

const AGAIN = "Trying again by itself.";

/** What a close code means; `again`: whether to come back by itself. */
export function closed(code, reason, opened) {
  switch (code) {
    case 4401:
      return {
        text: "Your sign-in here has ended. Sign in to this site again, then connect.",
        again: false,
        hide: true,
      };
    case 4408:
      return {
        text: "This chat was idle for long and has ended. What tools acted with is forgotten.",
        again: false,
        over: true,
      };
    case 4409:
      return { text: "This conversation goes on in another tab or window.", again: false };
    case 4403:
    case 1008:
      return { text: reason || "The server does not allow this chat from here.", again: false };
    case 1009:
      return { text: "That message was too large for the server. Connecting again.", again: true };
    case 1013:
      return { text: `The server has as many chats as it can take. ${AGAIN}`, again: true, slowly: true };
    case 1001:
    case 1012:
      return { text: `The server is restarting. ${AGAIN}`, again: true };
    default:
      return opened
        ? { text: `The connection was lost. ${AGAIN}`, again: true }
        : {
            text: `The server does not take the connection: you have to sign in first, or it is not set up for ${location.host}. ${AGAIN}`,
            again: true,
            slowly: true,
          };
  }
}

/** What came back with a connection, and what did not. */
export function restored({ resumed, asked, credential, reloaded }) {
  if (!asked) return "";
  const lost = credential || (reloaded && credential !== null);
  const told = resumed
    ? "Connected again. The conversation is restored."
    : reloaded
      ? "This is a new conversation: the earlier one has ended."
      : "Connected again, as a new conversation: the assistant does not remember what stands above.";
  return lost ? `${told} Credentials are not kept: give them again before tools need them.` : told;
}
