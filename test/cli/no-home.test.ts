import assert from 'node:assert/strict'
import { test } from 'node:test'
import { run } from '../support/process.ts'
import { startProxy } from '../support/proxy.ts'
import { requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, TUNNEL, tunnelLines } from './tunnel.ts'

const NOWHERE = {
  HOME: '',
  TUNNEL_STATE_DIR: undefined,
  XDG_CONFIG_HOME: undefined,
  XDG_CACHE_HOME: undefined,
  XDG_RUNTIME_DIR: undefined,
  XDG_STATE_HOME: undefined,
}

/** What needs a home folder, and the variable that is named instead. */
const NEEDING: readonly [line: string, said: RegExp][] = [
  [
    'use work --url http://127.0.0.1:1',
    /there is no home folder to keep contexts in: set HOME or XDG_CONFIG/,
  ],
  ['ssh-config --write', /there is no home folder with a ~\/\.ssh\/config: set HOME/],
  ['server --port 0', /there is no home folder to keep the state in: set TUNNEL_STATE_DIR, or HOME/],
  ['install server --user --dry-run', /there is no home folder for a unit of yours: set HOME/],
]

test('without a home folder what needs one names the variable to set, and the rest works', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const reach = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') }
  const env = isolated(await tempFolder(t), { ...NOWHERE, ...reach })
  const printed = await tunnelLines(
    NEEDING.map(([line]) => line.split(' ')),
    env,
  )
  for (const [index, { code, stderr }] of printed.entries()) {
    const [line, said] = NEEDING[index]!
    assert.equal(code, 2, `${line}: ${stderr}`)
    assert.match(stderr, /^tunnel [^\n]*\n$/)
    assert.match(stderr, said)
  }
  const reading = ['machines', 'status', 'key', 'use', 'ssh-config', 'completion --values machine']
  for (const { code, stderr } of await tunnelLines(
    reading.map((line) => line.split(' ')),
    env,
  ))
    assert.deepEqual([code, stderr], [0, ''])
})

/** As in a container that runs under a number of its own. */
const UNKNOWN = ['--reuid', '61099', '--regid', '61099', '--clear-groups']

test('a user id without an account is told as that, where the account matters', async (t) => {
  const missing = process.getuid?.() === 0 ? requireSystem('setpriv', 'test') : 'it needs root'
  if (missing !== undefined) return t.skip(missing)
  const proxy = await startProxy(t)
  const reach = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') }
  // Under that id nothing can be written where coverage is collected.
  const unset = { HOME: undefined, NODE_V8_COVERAGE: undefined }
  const env = isolated(await tempFolder(t), { ...NOWHERE, ...reach, ...unset })
  const asUnknown = (...words: string[]) => run('setpriv', [...UNKNOWN, ...words], { env })
  if ((await asUnknown('test', '-r', TUNNEL.at(-1)!)).code !== 0) return t.skip('this folder is private')
  const { code, stderr } = await asUnknown(...TUNNEL, 'key', '--authorize')
  assert.equal(code, 2)
  assert.match(stderr, /^tunnel key: the user id 61099 has no account on this machine [^\n]*\n$/)
  assert.equal((await asUnknown(...TUNNEL, 'machines')).code, 0)
})
