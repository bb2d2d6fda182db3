// oidc-provider as the tenant of an identity service, on a free loopback port: users' access tokens as JWTs.
// Started with one argument, a JSON object:
//   namespace: what its own claims begin with; audience: of its tokens
// Prints one JSON line, { issuer }, when it answers. Ends with its standard input, so never outlives its parent.
// POST /admin/token { alg, sub, roles, email, format, scope }, /admin/rotate, /admin/behave { down, delay }, /admin/state.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';

import { Provider } from 'oidc-provider';

console.info = console.error; // standard output is for the one line

const { namespace, audience, slash } = JSON.parse(process.argv[2]);
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}${slash ? '/' : ''}`;

const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const made = (alg) => ({
  ...generateKeyPairSync(...kinds[alg]).privateKey.export({ format: 'jwk' }), use: 'sig', alg, kid: randomBytes(6).toString('hex'),
});
const fresh = () => {
  const provider = new Provider(issuer, {
    clients: [
      { client_id: 'app', client_secret: 'app-secret', redirect_uris: ['https://app.example/callback'] },
      { client_id: 'api', client_secret: 'api secret:%', redirect_uris: [], response_types: [], grant_types: [] },
    ],
    jwks: { keys: Object.keys(kinds).map(made) },
    cookies: { keys: [randomBytes(24).toString('hex')] },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (ctx, token) => (facts.get(token.grantId) ?? {}),
    ttl: { AccessToken: 3600, Grant: 3600 },
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: { enabled: true },
    },
  });
  provider.on('server_error', (ctx, error) => console.error(error));
  return provider;
};

const facts = new Map(); // grant -> claims of its tokens
let provider = fresh();
let handle = provider.callback();
let behaviour = { down: false };
let asked = 0;

const commands = {
  async token({ alg, sub, roles, email, scope, format = 'jwt' }) {
    const grant = new provider.Grant({ accountId: sub, clientId: 'app' });
    const grantId = await grant.save();
    facts.set(grantId, { [`${namespace}roles`]: roles, [`${namespace}email`]: email });
    const token = new provider.AccessToken({
      accountId: sub, client: await provider.Client.find('app'), grantId, gty: 'authorization_code', scope,
    });
    token.resourceServer = new provider.ResourceServer(audience, {
      audience, scope, accessTokenFormat: format, ...(format === 'jwt' && { jwt: { sign: { alg } } }),
    });
    const value = await token.save();
    return { token: value };
  },
  async revoke({ token }) { await (await provider.AccessToken.find(token)).destroy(); },
  rotate() { provider = fresh(); handle = provider.callback(); },
  behave(how) { behaviour = how; },
  state: () => ({ asked }),
};

server.on('request', async (req, res) => {
  const { pathname } = new URL(req.url, issuer);
  try {
    if (pathname.startsWith('/admin/')) {
      const body = await text(req);
      const told = (await commands[pathname.slice(7)](body ? JSON.parse(body) : {})) ?? {};
      res.writeHead(200, { 'content-type': 'application/json' });
      return res.end(JSON.stringify(told));
    }
    if (pathname === '/jwks') asked += 1;
    if (behaviour.down) return res.writeHead(503).end('down');
    return handle(req, res);
  } catch (error) {
    console.error(error);
    return res.writeHead(500).end(String(error));
  }
});
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ issuer }));
