// SPDX-License-Identifier: MIT
// Runs speedscope's own importer on a Chrome trace and prints, as JSON, what it would draw:
//
//   node check.mjs FILE.json   ->  [{"name": "server (pid 1), main (tid 2)", "slices": [[name, depth, start, end]]}]
//
// Times are microseconds from the profile's first slice. Exit code 1 when the importer warns: it then moved or
// dropped a slice.
//
// The npm package has no module to import, only the bundle of its web page. So the bundle is run in a context of its
// own, where every name of the browser is one object that answers anything, and one line added to its end hands out the
// importer, which is found by the name that minifying leaves to it as a property.
import {readFileSync, readdirSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {createRequire} from 'node:module';
import vm from 'node:vm';

const require = createRequire(import.meta.url);
const release = join(dirname(require.resolve('speedscope/package.json')), 'dist', 'release');
const bundle = readdirSync(release).find((name) => /^speedscope-\w+\.js$/.test(name));
const source = readFileSync(join(release, bundle), 'utf8');

const importer = source.match(/async function (\w+)\([^)]*\)\{return\(await \w+\)\.importProfileGroupFromText\(/);
const last = source.lastIndexOf('console.log(`speedscope v');
if (!importer || last < 0) throw new Error(`${bundle} is not built as expected; look for the importer in it`);

const anything = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => '' : key === Symbol.iterator ? [][Symbol.iterator] : anything),
  apply: () => anything,
  construct: () => anything,
});
const warnings = [];
const warn = (...words) => warnings.push(words.join(' '));
const context = {
  window: anything, document: anything, navigator: anything, location: anything, localStorage: anything,
  HTMLElement: class {}, HTMLCanvasElement: class {}, requestAnimationFrame() {}, addEventListener() {},
  console: {log() {}, warn, error: warn},
  TextDecoder, TextEncoder, URL, setTimeout, clearTimeout, performance, atob, fetch: anything,
};
context.self = context.globalThis = context;
vm.createContext(context);
try {
  vm.runInContext(`${source.slice(0, last)}globalThis.importTrace=${importer[1]};${source.slice(last)}`, context);
} catch (error) {
  if (!context.importTrace) throw error;  // drawing the page fails, after the importer was handed out
}

const file = process.argv[2];
warnings.length = 0;
const group = await context.importTrace('trace.json', readFileSync(file, 'utf8'));
const profiles = [];
for (const profile of group ? group.profiles : []) {
  const slices = [], open = [];
  profile.forEachCall(
    (node, time) => {
      open.push(slices.length);
      slices.push([node.frame.name, open.length - 1, time, null]);
    },
    (_, time) => { slices[open.pop()][3] = time; });
  profiles.push({name: profile.getName(), slices});
}
process.stdout.write(JSON.stringify(profiles));
for (const warning of warnings.slice(0, 10)) console.error(warning);
process.exitCode = group && warnings.length === 0 ? 0 : 1;
