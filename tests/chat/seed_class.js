class AuthenticatedChat {
  constructor(wsUrl) {
    this.ws = new WebSocket(wsUrl);
    this.setupHandlers();
  }

  setupHandlers() {
    this.ws.onopen = () => console.log("Connected");
    this.ws.onmessage = (e) => this.onMessage(JSON.parse(e.data));
  }

  authenticate(authType, credentials) {
    this.ws.send(
      JSON.stringify({
        type: "auth",
        auth_type: authType,
        ...credentials,
      }),
    );
  }

  sendMessage(text) {
    this.ws.send(
      JSON.stringify({
        type: "chat",
        message: text,
      }),
    );
  }

  onMessage(msg) {
    if (msg.type === "auth_configured") {
      console.log("‚úÖ Authenticated with " + msg.auth_type);
      this.sendMessage("What can you help me with?");
    } else if (msg.type === "ai_response") {
      console.log("ü§ñ " + msg.message);
    } else if (msg.type === "error") {
      console.error("‚ùå " + msg.message);
    }
  }
}
