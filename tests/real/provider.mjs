// oidc-provider on a free loopback port, with login and consent pages of plain forms, and /admin for the tests.
// Started with one argument, a JSON object:
//   clients: [{ client_id, client_secret?, token_endpoint_auth_method }], redirectUris: [], scopes: [], accessTtl: seconds
// Prints one JSON line, { issuer }, when it answers. Ends with its standard input, so never outlives its parent.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';

import { Provider } from 'oidc-provider';

console.info = console.error; // standard output is for the one line

const config = JSON.parse(process.argv[2]);
const redirectUris = new Set(config.redirectUris);
let accessTtl = config.accessTtl;
let proofsNeedNonce = false;

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  clients: config.clients.map((client) => ({
    redirect_uris: ['https://replaced.example/by-the-list'],
    grant_types: [
      'authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code',
      ...(client.token_endpoint_auth_method === 'none' ? [] : ['client_credentials']),
    ],
    response_types: ['code'],
    ...client,
  })),
  scopes: config.scopes,
  claims: { openid: ['sub'] },
  cookies: { keys: [randomBytes(24).toString('hex')] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    introspection: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => proofsNeedNonce },
    pushedAuthorizationRequests: { enabled: true },
    registration: { enabled: true },
  },
  ttl: {
    AccessToken: () => accessTtl,
    AuthorizationCode: 60,
    Grant: 86_400,
    IdToken: 3_600,
    Interaction: 600,
    RefreshToken: 86_400,
    Session: 86_400,
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  renderError: (ctx, out) => {
    ctx.type = 'html';
    ctx.body = page('This link cannot be used', `<p>${escape(out.error)}: ${escape(out.error_description ?? '')}</p>`);
  },
});
provider.Client.prototype.redirectUriAllowed = (uri) => redirectUris.has(uri);

// What happened, for the tests.
let counts = { exchanges: 0, refreshes: 0, revocations: 0, errors: [] };
const families = new Map(); // refresh token -> grant
const revoked = new Set(); // grants
const watched = new Map(); // grant -> how its refreshes went, and how its next ones are to go
const watch = (token) => watched.get(families.get(token));
const count = (ctx) => {
  const { grant_type: grant, refresh_token: token } = ctx.oidc?.params ?? {};
  if (grant === 'authorization_code') counts.exchanges += 1;
  if (grant === 'refresh_token') counts.refreshes += 1;
  if (watch(token)) watch(token).refreshes += 1;
};
provider.on('grant.success', count);
provider.on('grant.error', (ctx, error) => {
  count(ctx);
  const detail = error.error_detail ?? error.error_description ?? '';
  counts.errors.push(`${error.error}: ${detail}`);
  const family = watch(ctx.oidc?.params?.refresh_token);
  if (family && error.error === 'invalid_grant') family.invalidGrants += 1;
  if (family && detail === 'refresh token already used') family.reuses += 1;
});
provider.on('grant.revoked', (ctx, grant) => revoked.add(grant));
provider.on('refresh_token.saved', (token) => {
  families.set(token.jti, token.grantId);
  const family = watched.get(token.grantId) ?? {
    refreshes: 0, invalidGrants: 0, reuses: 0, inFlight: 0, most: 0, held: [], hold: null, delay: 0, times: 0, grace: 0,
  };
  family.newest = token.jti;
  watched.set(token.grantId, family);
});
provider.on('server_error', (ctx, error) => {
  counts.errors.push(`server_error: ${error.message}`);
  console.error(error);
});

const escape = (value) =>
  String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

function page(heading, content) {
  return `<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>${escape(heading)}</title><h1>${escape(heading)}</h1>${content}</html>`;
}

const form = (action, fields, buttons) => `<form method="post" action="${escape(action)}">${fields}
${buttons.map(([value, label]) => `<button name="answer" value="${value}">${label}</button>`).join('\n')}</form>`;

function ask({ uid, prompt, params }) {
  const action = `/interaction/${uid}`;
  const deny = ['deny', 'Cancel'];
  if (prompt.name === 'login') {
    const fields = '<label>User name <input name="login" autocomplete="username" required></label>';
    return page('Sign in', form(action, fields, [['login', 'Sign in'], deny]));
  }
  const scopes = escape(params.scope ?? '').split(' ').map((scope) => `<li>${scope}</li>`).join('');
  return page(`Let ${params.client_id} in?`, form(action, `<ul>${scopes}</ul>`, [['consent', 'Allow'], deny]));
}

async function settle({ prompt, params, session, grantId }, answer, login) {
  if (answer === 'deny') return { error: 'access_denied', error_description: 'The person said no.' };
  if (prompt.name === 'login') return { login: { accountId: login || 'someone' } };
  const grant = (grantId && (await provider.Grant.find(grantId)))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingOIDCClaims } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  return { consent: { grantId: await grant.save() } };
}

async function interact(req, res) {
  const details = await provider.interactionDetails(req, res);
  if (req.method !== 'POST') {
    res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    return res.end(ask(details));
  }
  const fields = new URLSearchParams(await text(req));
  const result = await settle(details, fields.get('answer'), fields.get('login'));
  return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: result.consent !== undefined });
}

// A resource: who the bearer of a live access token is.
async function whoami(req, res) {
  const value = /^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1];
  const token = value && (await provider.AccessToken.find(value));
  if (token) return json(res, 200, { sub: token.accountId, scope: token.scope });
  res.setHeader('www-authenticate', 'Bearer error="invalid_token"');
  return json(res, 401, { error: 'invalid_token' });
}

// A refresh as its family was told to go: held before it is handled or before it is answered, or late.
async function refresh(req, res) {
  const body = await text(req);
  req.body = body;
  const family = watch(new URLSearchParams(body).get('refresh_token'));
  if (family === undefined) return others(req, res);
  family.inFlight += 1;
  family.most = Math.max(family.most, family.inFlight);
  res.on('close', () => { family.inFlight -= 1; });
  const { hold } = family;
  const released = () => new Promise((resolve) => { family.held.push(resolve); });
  if (family.times > 0) {
    family.times -= 1;
    await new Promise((resolve) => setTimeout(resolve, family.delay * 1000));
  }
  if (hold === 'before') await released();
  if (hold === 'after') {
    const end = res.end.bind(res);
    res.end = (...rest) => { released().then(() => end(...rest)); return res; };
  }
  return others(req, res);
}

// A provider with grace: the refresh token before the newest one still works for a while.
const { consume } = provider.RefreshToken.prototype;
provider.RefreshToken.prototype.consume = async function consumeLater() {
  const grace = watched.get(this.grantId)?.grace ?? 0;
  if (!grace) return consume.call(this);
  setTimeout(() => consume.call(this).catch(() => {}), grace * 1000).unref();
  return undefined;
};

const commands = {
  state: () => counts,
  reset: () => { counts = { exchanges: 0, refreshes: 0, revocations: 0, errors: [] }; accessTtl = config.accessTtl; proofsNeedNonce = false; },
  allow: ({ redirectUri }) => { redirectUris.add(redirectUri); },
  nonce: ({ required }) => { proofsNeedNonce = required; },
  lifetime: ({ seconds }) => { accessTtl = seconds; },
  family: async ({ token }) => {
    const grant = families.get(token);
    const alive = !!grant && !revoked.has(grant) && !!(await provider.Grant.find(grant));
    const { held, ...how } = watched.get(grant) ?? { held: [] };
    return { known: grant !== undefined, alive, ...how, held: held.length };
  },
  behave: ({ token, ...how }) => { Object.assign(watch(token), how); },
  release: ({ token }) => {
    watch(token).hold = null;
    watch(token).held.splice(0).forEach((resolve) => resolve());
  },
  forget: async ({ client }) => { await provider.Client.adapter.destroy(client); },
  end: async ({ token }) => { await (await provider.AccessToken.find(token)).destroy(); },
  revoke: async ({ token }) => {
    const grant = families.get(token);
    await Promise.all([provider.AccessToken, provider.RefreshToken].map((kind) => kind.revokeByGrantId(grant)));
    await provider.Grant.adapter.destroy(grant);
    revoked.add(grant);
  },
};

async function admin(req, res, name) {
  const body = await text(req);
  return json(res, 200, (await commands[name](body ? JSON.parse(body) : {})) ?? {});
}

function json(res, status, value) {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(value));
}

const others = provider.callback();
server.on('request', (req, res) => {
  const [, first, second] = new URL(req.url, issuer).pathname.split('/');
  if (req.method === 'POST' && `${first}/${second}` === 'token/revocation') counts.revocations += 1;
  const handle = { interaction: interact, whoami, admin, token: second ? others : refresh }[first] ?? others;
  Promise.resolve(handle(req, res, second)).catch((error) => {
    counts.errors.push(`${first}: ${error.message}`);
    if (!res.headersSent) json(res, 400, { error: error.message });
  });
});
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ issuer }));
