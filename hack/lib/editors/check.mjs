// Opens manifests in yaml-language-server as an editor does, and says where it does not help: the examples have no problem, a field that
// does not exist is one, and the fields that exist are offered.
//
// Usage: node check.mjs MANIFEST…

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import rpc from 'vscode-jsonrpc/node.js';

const LIMIT_MS = 60_000;

const child = spawn('npx', ['--no-install', 'yaml-language-server', '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
const server = rpc.createMessageConnection(
  new rpc.StreamMessageReader(child.stdout),
  new rpc.StreamMessageWriter(child.stdin),
);
const waiting = new Map();
server.onNotification('textDocument/publishDiagnostics', ({ uri, diagnostics }) => waiting.get(uri)?.(diagnostics));
server.onRequest('workspace/configuration', ({ items }) => items.map(({ section }) => (section === 'yaml' ? settings : {})));
server.onRequest('client/registerCapability', () => null);
server.onRequest('custom/schema/request', () => null);
server.listen();

// What is checked is what the manifest itself names: no store of schemas is asked.
const settings = { validate: true, completion: true, schemaStore: { enable: false } };

const fail = (what) => {
  console.error(`yaml-language-server: ${what}`);
  process.exit(1);
};
const limit = setTimeout(() => fail(`no answer within ${LIMIT_MS / 1000} s`), LIMIT_MS);

// Opens a text as the file at this address, and answers with what is wrong with it.
const open = (uri, text) =>
  new Promise((done) => {
    waiting.set(uri, done);
    server.sendNotification('textDocument/didOpen', { textDocument: { uri, languageId: 'yaml', version: 1, text } });
  });

await server.sendRequest('initialize', {
  processId: process.pid,
  rootUri: null,
  capabilities: { textDocument: { publishDiagnostics: {}, completion: {} }, workspace: { configuration: true } },
});
server.sendNotification('initialized', {});
server.sendNotification('workspace/didChangeConfiguration', { settings: { yaml: settings } });

for (const path of process.argv.slice(2)) {
  const text = readFileSync(path, 'utf8');
  const uri = pathToFileURL(resolve(path)).href;
  // Beside it, so that a path in it leads to the same schema.
  const beside = (what) => uri.replace(/[^/]+$/, (name) => `${what}-${name}`);

  const problems = await open(uri, text);
  if (problems.length > 0) fail(`${path} has problems: ${JSON.stringify(problems)}`);

  const wrong = await open(beside('wrong'), `${text.trimEnd()}\n  noSuchField: 1\n`);
  if (!wrong.some(({ message }) => message.includes('noSuchField'))) fail(`${path}: a wrong field is not found: ${JSON.stringify(wrong)}`);

  // Somebody begins a field of the spec.
  const lines = text.split('\n');
  const spec = lines.indexOf('spec:');
  lines.splice(spec + 1, 0, '  ');
  const begun = beside('begun');
  await open(begun, lines.join('\n'));
  const { items } = await server.sendRequest('textDocument/completion', {
    textDocument: { uri: begun },
    position: { line: spec + 1, character: 2 },
  });
  const labels = items.map(({ label }) => label);
  const field = text.includes('kind: PluginInstance') ? 'standby' : 'security';
  if (!labels.includes(field)) fail(`${path}: spec.${field} is not offered, but ${labels.join(', ')}`);
  console.log(`${path}: checked, completed`);
}
clearTimeout(limit);
await server.sendRequest('shutdown');
server.sendNotification('exit');
