import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import type { AuditLine } from '../../plugins/audit/index.ts'
import { signToken } from '../../plugins/auth/tokens.ts'
import { deriveUserKey } from '../../plugins/ssh/keys.ts'
import { newKeyPair, startSshServer } from '../../testing/ssh-server.ts'
import { isolated, startTunnel, tunnel } from '../cli/tunnel.ts'
import type { Program } from '../support/process.ts'
import { drop, listenTcp } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { startService } from '../support/service.ts'
import { freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'

const SETTINGS = { backoff: { baseMs: 20, maxMs: 200, maxAttempts: 500 } }
const SUB = 'somebody'
/** A computer that does other things too is no reason to fail. */
const BUSY = 'health.maxLagMs=60000'
/** How long the service takes for what is asked steadily, in ms: load that leaves the computer to others. */
const SERVICE_MS = 20

/** A service that answers with the path in a while, and counts. `/slow` gets its first half, and the other by `finish`. */
async function startCounting(scope: Scope) {
  const arrivals = new Map<string, number>()
  const slow: ServerResponse[] = []
  const port = await startService(scope, (request, response) => {
    const what = `${request.method} ${request.url}`
    arrivals.set(what, (arrivals.get(what) ?? 0) + 1)
    if (request.url !== '/slow') return void setTimeout(() => response.end(request.url), SERVICE_MS)
    response.write('first ')
    slow.push(response)
  })
  const finish = (): void => slow.forEach((response) => void response.end('last'))
  return { port, arrivals, finish }
}

/** A caller that asks for one thing after the other, each of its own, until it is told to stop. */
class Asker extends EventEmitter<{ asked: [] }> {
  readonly failures: unknown[] = []
  answers = 0
  readonly #ask: (path: string) => Promise<string>
  readonly over: Promise<void>
  stopped = false

  constructor(name: string, ask: (path: string) => Promise<string>) {
    super()
    this.#ask = ask
    this.over = this.#run(name)
  }

  async #run(name: string): Promise<void> {
    for (let count = 0; !this.stopped && this.failures.length === 0; count++) {
      const path = `/${name}/${count}`
      try {
        assert.equal(await this.#ask(path), path)
        this.answers++
      } catch (error) {
        this.failures.push(error)
      }
      this.emit('asked')
    }
  }

  /** Resolves when so many more answers have come, or one has failed. */
  async further(count: number): Promise<void> {
    const goal = this.answers + count
    while (this.answers < goal && this.failures.length === 0) await once(this, 'asked')
  }
}

test('a proxy that is asked to end under load finishes what it had begun, loses no stream, records all of it, and ends with 0', async (t) => {
  const folder = await tempFolder(t, 'shutdown')
  const port = await freePort()
  const [secret, masterSecret] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')]
  const secrets = { TUNNEL_JWT_SECRET: secret, TUNNEL_MASTER_SECRET: masterSecret }
  const env = isolated(join(folder, 'state'), secrets)
  const start = async (): Promise<Program> => {
    const program = startTunnel(t, ['server', '--port', String(port), '--set', BUSY], { env })
    await program.line(/listening/i)
    return program
  }
  const proxy = await start()
  const sshServer = await startSshServer({
    hostKey: newKeyPair('a host key').private,
    user: userInfo().username,
    authorizedKeys: () => deriveUserKey(masterSecret, SUB).publicKey,
  })
  t.after(() => sshServer.close())
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const service = await startCounting(t)
  const url = `http://127.0.0.1:${port}`
  const token = signToken(secret, { sub: SUB, tier: 'enterprise', ttlSeconds: 3_600 })
  const agent = new Agent({
    ...{ urls: [url], machine: 'home', token, ssh: `127.0.0.1:${sshServer.port}`, allow: [echo] },
    settings: resolveSettings({}, 'default', SETTINGS),
  })
  t.after(() => agent.close())
  await agent.start()
  const connect = async (): Promise<TunnelService> => {
    const client = new TunnelService({ url, token, settings: SETTINGS })
    t.after(() => client.disconnect(0))
    await client.connect()
    return client
  }
  const [person, caller] = await Promise.all([connect(), connect()])

  // Sealed: one line after the other, each sent when the one before has come back.
  const sealed = await person.open({ machine: 'home', kind: 'ssh', target: echo })
  t.after(() => drop(sealed))
  const lines = createInterface({ input: sealed })[Symbol.asyncIterator]()
  let said = 0
  const say = async (): Promise<void> => {
    sealed.write(`${++said}\n`)
    assert.equal((await lines.next()).value, String(said))
  }
  await say()

  const machine = 'home'
  const ask = (method: string) => async (path: string) => {
    const { status, body } = await caller.forwardRequest({ machine, port: service.port, method, path })
    return status === 200 ? String(body) : `status ${status}`
  }
  const askers = ['GET', 'POST', 'GET', 'POST'].map((method, at) => new Asker(`${method}${at}`, ask(method)))
  t.after(() => {
    for (const asker of askers) asker.stopped = true
  })
  const slow = await Promise.all([1, 2, 3].map(() => caller.fetch(`http://home:${service.port}/slow`)))
  const shell = caller.exec('home', ['sh', '-c', 'cat; echo over'], { stdin: 'in ' })
  await Promise.all(askers.map((asker) => asker.further(5)))

  proxy.kill('SIGTERM')
  await proxy.line(/draining/)
  await say()
  service.finish()
  for (const response of slow) assert.equal(await response.text(), 'first last')
  assert.equal((await shell).stdout.toString(), 'in over\n')
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)

  const next = await start()
  await say()
  await Promise.all(askers.map((asker) => asker.further(5)))
  for (const asker of askers) asker.stopped = true
  await Promise.all(askers.map(({ over }) => over))
  sealed.end()
  assert.equal((await lines.next()).done, true)
  assert.deepEqual(
    askers.flatMap(({ failures }) => failures),
    [],
  )
  for (const [what, times] of service.arrivals)
    if (!what.endsWith('/slow')) assert.equal(times, 1, `${what} was carried out ${times} times`)
  await Promise.all([person.disconnect(), caller.disconnect()])
  next.kill('SIGTERM')
  assert.deepEqual(await next.exit, { code: 0, signal: null }, next.stderr)

  const file = join(folder, 'state', 'audit.log')
  const verified = await tunnel(['audit', 'verify', file], { env })
  assert.equal(verified.code, 0, verified.stdout)
  const trail = (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditLine)
  const chains = [...new Set(trail.map(({ chain }) => chain))]
  const events = chains.map((chain) => trail.filter((line) => line.chain === chain).map(({ event }) => event))
  assert.deepEqual(
    events.map((each) => [each[0], each.at(-1)]),
    [
      ['proxy.started', 'audit.closed'],
      ['proxy.started', 'audit.closed'],
    ],
  )
  const answered = trail.filter(
    ({ event, details }) => event === 'stream.closed' && details?.kind === 'http' && details.outcome === 'ok',
  )
  const answers = askers.reduce((sum, asker) => sum + asker.answers, slow.length)
  assert.equal(answered.length, answers)
  const ofSealed = trail.filter(({ details }) => details?.streamId !== undefined && details.kind === 'ssh')
  assert.deepEqual(
    ofSealed.map(({ event }) => event),
    ['stream.moved', 'stream.closed'],
  )
})
