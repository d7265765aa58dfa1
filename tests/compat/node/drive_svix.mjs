// An official `svix` package of npm, driven by lines of JSON: see ../drive_svix.py, which does the same.
//
//     node drive_svix.mjs PACKAGE     PACKAGE is a folder of node_modules: svix, or svix-1

import { createPublicKey, verify as signed } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const folder = process.argv[2];
const loaded = await import(folder);
const svix = loaded.default ?? loaded;
const standard = require("standardwebhooks");
const version = require(`${folder}/package.json`).version;

// Neither library knows `v1a`: its signatures, checked with the runtime's own cryptography.
class Ed25519 {
  constructor(key) {
    const x = Buffer.from(key, "base64").toString("base64url");
    this.key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  }

  verify(body, headers) {
    const text = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
    const given = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
    const right = given.some((one) =>
      signed(null, Buffer.from(text), this.key, Buffer.from(one.slice(4), "base64")),
    );
    if (!right) throw new standard.WebhookVerificationError("no signature of this key");
  }
}

const libraries = {
  svix: svix.Webhook,
  standardwebhooks: standard.Webhook,
  ed25519: Ed25519,
};
const times = new Set(["since", "until", "before", "after", "deliverAt"]);
const clients = new Map();

function methods(client, before = "") {
  const found = [];
  const type = Object.getPrototypeOf(client);
  for (const [name, member] of Object.entries(Object.getOwnPropertyDescriptors(type))) {
    if (name === "constructor") continue;
    if (member.get) {
      found.push(...methods(client[name], `${before}${name}.`));
    } else {
      const asks = /SvixRequest\((?:\w+\.HttpMethod\.|")(\w+)"?,\s*"([^"]+)"/.exec(member.value);
      found.push({ name: before + name, method: asks?.[1] ?? null, path: asks?.[2] ?? null });
    }
  }
  return found;
}

// A value as a user of the package gives it: times are Dates.
function typed(value) {
  if (value === null || typeof value !== "object") return value;
  if ("rawPayload" in value) {
    return svix.messageInRaw(value.eventType, value.rawPayload, value.contentType);
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [name, times.has(name) ? new Date(one) : one]),
  );
}

async function called({ server, token, call, args }) {
  const where = `${server} ${token}`;
  if (!clients.has(where)) clients.set(where, new svix.Svix(token, { serverUrl: server }));
  const path = call.split(".");
  const name = path.pop();
  const resource = path.reduce((client, part) => client[part], clients.get(where));
  try {
    return { result: (await resource[name](...args.map(typed))) ?? null };
  } catch (error) {
    if (!(error instanceof svix.ApiException)) throw error;
    const body = typeof error.body === "string" ? JSON.parse(error.body) : error.body;
    return { error: { status: error.code, ...body } };
  }
}

function verified({ verify, secret, body, headers }) {
  try {
    const webhook = new libraries[verify](secret);
    return { result: webhook.verify(Buffer.from(body, "hex").toString(), headers) ?? null };
  } catch (error) {
    if (error.constructor.name !== "WebhookVerificationError") throw error;
    return { refused: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  if ("methods" in asked) answer = { version, methods: methods(new svix.Svix("token")) };
  else if ("verify" in asked) answer = verified(asked);
  else answer = await called(asked);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
