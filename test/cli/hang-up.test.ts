import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { descendants, processFacts } from '../support/proc.ts'
import type { Program } from '../support/process.ts'
import { listenTcp, until } from '../support/proxy.ts'
import { ON_BUSY_COMPUTER } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { isolated, TUNNEL } from './tunnel.ts'

const skip = requirePty()
const SERVER = ['server', '--port', '0', ...ON_BUSY_COMPUTER]

/** What a person started on a terminal, by the terminal. */
async function startedOn(t: TestContext, terminal: Program) {
  await until(() => descendants(terminal.pid).length > 0)
  const [pid] = descendants(terminal.pid)
  const isAlive = () => {
    const facts = processFacts(pid!)
    return facts !== undefined && !facts.zombie
  }
  t.after(() => isAlive() && process.kill(pid!, 'SIGKILL'))
  return { pid: pid!, isAlive }
}

test('what runs until it is told to end does so when its terminal is closed', { skip }, async (t) => {
  const folder = await tempFolder(t)
  const local = join(folder, 'local')
  // It takes connections and says nothing.
  const silent = await listenTcp(t, () => {})
  const env = isolated(folder, { TUNNEL_URL: `http://${silent}`, TUNNEL_TOKEN: 'x' })
  const running: [words: string[], isReady: (terminal: Program) => boolean][] = [
    [SERVER, ({ stdout }) => stdout.includes('the proxy listens on')],
    [
      ['agent', '--machine', 'home', '--ssh', '127.0.0.1:1'],
      ({ stdout }) => /goes\s+on\s+asking/.test(stdout),
    ],
    [['forward', `${local}:home:127.0.0.1:1`], () => existsSync(local)],
  ]
  for (const [words, isReady] of running) {
    const terminal = onTerminal(t, [...TUNNEL, ...words], { env, stdin: 'pipe' })
    const { isAlive } = await startedOn(t, terminal)
    await until(() => isReady(terminal))
    terminal.kill('SIGKILL')
    await until(() => !isAlive())
  }
  assert.equal(existsSync(local), false)
})

test('a proxy that nohup started goes on when its terminal is closed', { skip }, async (t) => {
  const folder = await tempFolder(t)
  const terminal = onTerminal(t, ['nohup', ...TUNNEL, ...SERVER], {
    env: isolated(folder),
    cwd: folder,
    stdin: 'pipe',
  })
  const said = (text: string) => {
    const file = join(folder, 'nohup.out')
    return existsSync(file) && readFileSync(file, 'utf8').includes(text)
  }
  const { pid, isAlive } = await startedOn(t, terminal)
  await until(() => said('Server listening at'))
  terminal.kill('SIGKILL')
  // What it does at a hang-up instead.
  await until(() => said('the settings were read again'))
  process.kill(pid, 'SIGTERM')
  await until(() => !isAlive())
})
