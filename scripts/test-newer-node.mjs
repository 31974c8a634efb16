// `npm run test:node24`: the tests that stand on manners of Node itself (HTTP, streams, URLs, timers, WebSocket), on Node 24.
// Without arguments; with some, the tests that they name, as for `npm test`.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, dirname } from 'node:path'

/** As docs/TESTING.md has it, and test/support/system.ts looks for it. */
const FOLDER = '/tmp/node24'
const INSTALLED = `${FOLDER}/node_modules/node/bin/node`
const PARTS = [
  'plugins/gateway',
  'plugins/links',
  'client/profiles',
  'client/web/public',
  'protocol/node',
  'agent/agent',
]

function findNode() {
  const named = process.env.TUNNEL_NODE24
  if (named !== undefined && existsSync(named)) return named
  if (existsSync(INSTALLED)) return INSTALLED
  const options = ['--no-audit', '--no-fund', '--loglevel=error']
  spawnSync('npm', ['install', ...options, '--prefix', FOLDER, 'node@24'], { stdio: 'inherit' })
  return existsSync(INSTALLED) ? INSTALLED : undefined
}

const node = findNode()
if (node === undefined) {
  console.log('skipped: Node 24 is not here, and could not be installed from the registry')
  process.exit(0)
}
const PATH = `${dirname(node)}${delimiter}${process.env.PATH}`
const parts = process.argv.length > 2 ? process.argv.slice(2) : PARTS
const { status } = spawnSync(node, ['scripts/test.mjs', ...parts], {
  stdio: 'inherit',
  env: { ...process.env, PATH },
})
process.exit(status ?? 1)
