// A real OpenID provider on this machine: node provider.mjs PORT REDIRECT_URI AFTER_SIGN_OUT. Any password is right.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import Provider from "oidc-provider";

const [port, redirect, after] = process.argv.slice(2);
const people = {
  rita: { name: "Rita Reader", groups: ["radiologists", "staff"] },
  quinn: { name: "Quinn Quality", groups: ["quality"] },
  stan: { name: "Stan Stranger", groups: ["staff"] },
};
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: "demur",
    client_secret: "a secret: with a colon & more",
    redirect_uris: [redirect],
    post_logout_redirect_uris: [after],
  }],
  claims: { openid: ["sub"], profile: ["name", "groups"] },
  cookies: { keys: [randomUUID()] },
  findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  jwks: { keys: [{ ...key, kid: randomUUID(), use: "sig" }] },
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
