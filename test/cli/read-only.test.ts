import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { startProxy } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnelLines } from './tunnel.ts'

/** A home folder with a context, on a disk that takes nothing more; undefined where none can be mounted. */
async function readOnlyHome(t: TestContext, url: string, token: string): Promise<string | undefined> {
  const mounted: string[] = []
  // Before the folder is removed.
  t.after(() => mounted.length > 0 && spawnSync('umount', mounted))
  const home = join(await tempFolder(t), 'home')
  const config = join(home, '.config', 'ssh-websocket-tunnel')
  for (const folder of [config, join(home, '.ssh')]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(config, 'work.token'), token, { mode: 0o600 })
  const contexts = { work: { url, tokenFile: 'work.token' } }
  writeFileSync(join(config, 'config.json'), JSON.stringify({ current: 'work', contexts }), { mode: 0o600 })
  const mount = (...options: string[]) => spawnSync('mount', [...options, home]).status === 0
  if (!mount('--bind', home)) return undefined
  mounted.push(home)
  return mount('-o', 'remount,bind,ro') ? home : undefined
}

const WRITERS: readonly [line: string, status: number, file: string][] = [
  ['use other --url http://127.0.0.1:1', 2, '.config/ssh-websocket-tunnel/config.json'],
  ['use --remove work', 2, '.config/ssh-websocket-tunnel/config.json'],
  ['ssh-config --write', 2, '.ssh/config'],
  ['key --authorize', 2, '.ssh/authorized_keys'],
  ['install server --root HOME', 2, 'etc/ssh-websocket-tunnel/jwt'],
  ['diagnose --bundle HOME/bundle', 2, 'bundle'],
  ['forward HOME/socket:home:127.0.0.1:1', 1, 'socket'],
  ['server --port 0', 2, 'state'],
  ['demo --embedded', 2, 'tunnel-demo-…'],
]

test('on a read-only disk what cannot be written is named in one line, and what only reads works', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const home = await readOnlyHome(t, proxy.url, proxy.tokenOf('alice'))
  if (home === undefined) return t.skip('nothing can be mounted: this needs root')
  const nowhere = { XDG_CONFIG_HOME: undefined, XDG_CACHE_HOME: undefined, XDG_RUNTIME_DIR: undefined }
  const env = isolated(join(home, 'state'), { ...nowhere, HOME: home, TMPDIR: home })
  const before = readdirSync(home, { recursive: true }).sort()

  const words = WRITERS.map(([line]) => line.replaceAll('HOME', home).split(' '))
  for (const [index, { code, stderr }] of (await tunnelLines(words, env)).entries()) {
    const [line, status, file] = WRITERS[index]!
    const told = stderr.split('\n').filter((each) => each !== '' && !each.includes(': warning: '))
    assert.equal(code, status, `${line}: ${stderr}`)
    assert.equal(told.length, 1, stderr)
    assert.ok(told[0]?.includes(join(home, file)), `${line}: ${stderr}`)
    assert.match(told[0]!, /the disk is read-only, EROFS/)
  }
  const reading = ['machines', 'status', 'sessions', 'key', 'use', 'ssh-config', 'config']
  const printed = await tunnelLines(
    reading.map((line) => [line]),
    env,
  )
  for (const [index, { code, stdout, stderr }] of printed.entries()) {
    assert.deepEqual([code, stderr], [0, ''], reading[index])
    assert.notEqual(stdout, '', reading[index])
  }
  assert.deepEqual(readdirSync(home, { recursive: true }).sort(), before)
})
