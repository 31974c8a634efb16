import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import test, { after, before, type TestContext } from 'node:test'
import type { TunnelService } from '../../../client/index.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { FaultRelay } from '../../chaos/fault-relay.ts'
import { listenTcp, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { Cleanup } from '../../support/scope.ts'
import { startService } from '../../support/service.ts'
import { requireSystem, type Sshd, startSshd } from '../../support/sshd.ts'

/*
 * What the proxy says of a stream, it says once, at the stream's real end and with one outcome: a request counted, an
 * error where there is one, a latency where all went well, a line of the audit trail, a line of the log, and the hooks
 * onOpen and onClose. Here for every kind by every way in which a stream can end.
 */

const skip = requireSystem('sshd')
const KINDS = ['ssh', 'configured', 'tcp', 'http', 'exec', 'shell', 'sftp'] as const
type Kind = (typeof KINDS)[number]
/** As the protocol names them: a sealed stream to a configured host is of kind `ssh` too. */
const wireKind = (kind: Kind) => (kind === 'configured' ? 'ssh' : kind)
/** For streams that are not asked for again; no other may be late because the computer is busy. */
const BRIEF_MS = 1_000

/** One for all scenes: each has a user's key of its own. */
let sshd: Sshd
const scope = new Cleanup()
before(async () => {
  if (!skip) sshd = await startSshd(scope)
})
after(() => scope.close())

/** A stream that stands, with the far side in the test's hand. */
interface Standing {
  /** The far side ends in order, and so does the near one. */
  end(): Promise<void>
  /** The near side gives it up. */
  giveUp(): void
}

interface Scene {
  proxy: TestProxy
  tunnel: TunnelService
  /** Between the agent and the proxy. */
  agentLine: FaultRelay
  /** Between the client and the proxy. */
  clientLine: FaultRelay
  /** Whether a hook refuses what is opened. */
  refuses: boolean
  open(kind: Kind): Promise<Standing>
  /** All that has been said of the streams of a kind. */
  said(kind: Kind): Promise<Said>
  /** Ends all faults, and waits for client and agent to be on line. */
  mend(): Promise<void>
}

/** Everything about the streams of one kind. */
interface Said {
  requests: Record<string, number>
  latencies: number
  errors: number
  hooks: string[]
  audit: string[]
  log: string[]
}

const NOTHING: Said = { requests: {}, latencies: 0, errors: 0, hooks: [], audit: [], log: [] }

/** What is said of a stream that was open and ended with `outcome`. A request has its latency when its answer begins. */
function closed(outcome: string, isError: boolean, kind?: Kind): Said {
  return {
    requests: { [outcome]: 1 },
    latencies: outcome === 'ok' || kind === 'http' ? 1 : 0,
    errors: isError ? 1 : 0,
    hooks: ['onOpen', `onClose ${outcome}`],
    audit: [`stream.closed ${outcome}`],
    log: ['stream open', `stream over ${outcome}`],
  }
}

/** What `now` has more than `before`. */
function since(before: Said, now: Said): Said {
  const counted = Object.entries(now.requests).map(([outcome, count]) => {
    return [outcome, count - (before.requests[outcome] ?? 0)] as const
  })
  return {
    requests: Object.fromEntries(counted.filter(([, count]) => count > 0)),
    latencies: now.latencies - before.latencies,
    errors: now.errors - before.errors,
    hooks: now.hooks.slice(before.hooks.length),
    audit: now.audit.slice(before.audit.length),
    log: now.log.slice(before.log.length),
  }
}

async function scene(t: TestContext, set: string[] = []): Promise<Scene> {
  const sockets: Socket[] = []
  const far = await listenTcp(t, (socket) => {
    sockets.push(socket)
    socket.write('hello')
  })
  const answers: ServerResponse[] = []
  const webPort = await startService(t, (_request, response) => {
    answers.push(response)
    response.write('hello')
  })
  const [host = '', port = ''] = far.split(':')
  const proxy = await startProxy(t, {
    set: ['log.level=debug', 'shutdown.serverMs=0', ...set],
    machines: {
      office: {
        host,
        port: Number(port),
        user: 'nobody',
        hostKey: sshd.hostKeys[0] ?? '',
        owners: ['alice'],
      },
    },
  })
  const target = { host: '127.0.0.1', port: proxy.port }
  const [agentLine, clientLine] = await Promise.all([
    FaultRelay.listen(t, { target }),
    FaultRelay.listen(t, { target }),
  ])
  const via = (line: FaultRelay) => `http://127.0.0.1:${line.port}`
  await proxy.startAgent('home', 'alice', sshd, { urls: [via(agentLine)], allow: [far] })
  const tunnel = await proxy.connect('alice', { url: via(clientLine) })
  const hooks: string[] = []
  proxy.app.tunnel.addHook('onOpen', () => void hooks.push('onOpen'))
  proxy.app.tunnel.addHook('onClose', ({ error }) => void hooks.push(`onClose ${error?.code ?? 'ok'}`))

  proxy.app.tunnel.addHook('preOpen', () => {
    if (at.refuses) throw new TunnelError('POLICY_DENIED', 'not now', { hop: 'proxy' })
  })

  async function open(kind: Kind): Promise<Standing> {
    if (kind === 'http') {
      const response = await tunnel.fetch(`http://home:${webPort}/`)
      const reader = response.body?.getReader()
      await reader?.read()
      return {
        async end() {
          answers.at(-1)?.end()
          while ((await reader?.read())?.done === false);
        },
        giveUp: () => void reader?.cancel().catch(() => {}),
      }
    }
    if (kind === 'exec') {
      const abort = new AbortController()
      const command = tunnel.exec('home', 'echo hello; cat', { signal: abort.signal, stdin: held() })
      command.catch(() => {})
      await until(() => openStreams(proxy) === 1)
      return {
        async end() {
          letGo()
          assert.equal((await command).exitCode, 0)
        },
        giveUp: () => abort.abort(),
      }
    }
    if (kind === 'shell' || kind === 'sftp') {
      const stream =
        kind === 'shell'
          ? (await tunnel.shell('home')).stream
          : await tunnel.open({ machine: 'home', kind: 'sftp' })
      stream.on('error', () => {}).resume()
      return {
        async end() {
          stream.end()
          if (!stream.closed) await once(stream, 'close')
        },
        giveUp: () => void stream.destroy(),
      }
    }
    const stream = await tunnel.open({
      machine: kind === 'configured' ? 'office' : 'home',
      kind: kind === 'tcp' ? 'tcp' : 'ssh',
      ...(kind === 'configured' ? {} : { target: far }),
    })
    stream.on('error', () => {})
    await once(stream, 'data')
    return {
      async end() {
        stream.resume()
        for (const socket of sockets) socket.end()
        stream.end()
        if (!stream.closed) await once(stream, 'close')
      },
      giveUp: () => void stream.destroy(),
    }
  }

  let letGo: () => void = () => {}
  async function* held(): AsyncGenerator<Buffer> {
    await new Promise<void>((resolve) => {
      letGo = resolve
    })
    yield Buffer.from('bye')
  }

  async function said(kind: Kind): Promise<Said> {
    const ofKind = wireKind(kind)
    const text = await proxy.app.tunnelMetrics.read()
    const requests: Record<string, number> = {}
    for (const [, of, outcome = '', count] of text.matchAll(
      /^tunnel_requests_total\{kind="(\w+)",outcome="(\w+)"\} (\d+)$/gm,
    )) {
      if (of === ofKind) requests[outcome] = Number(count)
    }
    const latencies = new RegExp(`^tunnel_request_latency_ms_count\\{kind="${ofKind}"\\} (\\d+)$`, 'm')
    const lines = readFileSync(join(proxy.settings.state.dir, 'audit.log'), 'utf8').trim().split('\n')
    const audit = lines.map((line) => JSON.parse(line) as { event: string; details?: { outcome?: string } })
    return {
      requests,
      latencies: Number(latencies.exec(text)?.[1] ?? 0),
      errors: [...text.matchAll(/^tunnel_errors_total\{.*\} (\d+)$/gm)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      ),
      hooks: [...hooks],
      audit: audit
        .filter(({ event }) => event.startsWith('stream.'))
        .map(({ event, details }) => `${event} ${details?.outcome}`),
      log: proxy.log
        .filter(({ message }) => /^(a )?stream (open|over|refused|failed)/.test(message))
        .map(({ message, context }) => [message, context?.outcome].filter(Boolean).join(' ')),
    }
  }
  async function mend(): Promise<void> {
    agentLine.clear()
    clientLine.clear()
    at.refuses = false
    await until(async () => {
      const machines = (await (await proxy.api('alice', 'machines')).json()) as Record<string, unknown>[]
      const isOnline = machines.some(({ name, online }) => name === 'home' && online === true)
      return isOnline && tunnel.state === 'connected'
    })
  }
  const at: Scene = { proxy, tunnel, agentLine, clientLine, refuses: false, open, said, mend }
  return at
}

function openStreams(proxy: TestProxy): number {
  let open = 0
  for (const [, state, count] of proxy.app.forward.overview.counts()) if (state === 'open') open += count
  return open
}

function streams(proxy: TestProxy): number {
  let all = 0
  for (const [, , count] of proxy.app.forward.overview.counts()) all += count
  return all
}

/** What is said of the streams that `play` makes. It has all been said when it has been written: the audit trail last. */
async function saidOf(at: Scene, kind: Kind, play: () => Promise<void>): Promise<Said> {
  const before = await at.said(kind)
  await play()
  await until(() => streams(at.proxy) === 0)
  await until(async () => (await at.said(kind)).audit.length > before.audit.length)
  return since(before, await at.said(kind))
}

interface Ending {
  name: string
  kinds: readonly Kind[]
  /** Brings a stream of the scene to its end. */
  play(at: Scene, kind: Kind): Promise<void>
  /** The scene is of no use any more. */
  isLast?: boolean
  /** It ends with the resume window. */
  isOutwaited?: boolean
  expected(kind: Kind): Said
}

const REFUSED: Said = {
  ...NOTHING,
  requests: { POLICY_DENIED: 1 },
  errors: 1,
  audit: ['stream.refused POLICY_DENIED'],
  log: ['stream refused POLICY_DENIED'],
}

const WITH_AGENT = KINDS.filter((kind) => kind !== 'configured')

const ENDINGS: readonly Ending[] = [
  {
    name: 'ends well',
    kinds: KINDS,
    async play(at, kind) {
      await (await at.open(kind)).end()
    },
    expected: () => closed('ok', false),
  },
  {
    name: 'is refused',
    kinds: KINDS,
    async play(at, kind) {
      at.refuses = true
      // `exec` waits for the stream to open, which it never does.
      if (kind === 'exec') await assert.rejects(at.tunnel.exec('home', 'true'), { code: 'POLICY_DENIED' })
      else await assert.rejects(at.open(kind))
    },
    expected: () => REFUSED,
  },
  {
    name: 'is given up by its user',
    kinds: KINDS,
    async play(at, kind) {
      ;(await at.open(kind)).giveUp()
    },
    expected: (kind) => closed('ABORTED', false, kind),
  },
  {
    name: "ends well after its client's link was cut",
    kinds: KINDS,
    async play(at, kind) {
      const stream = await at.open(kind)
      for (let cuts = 0; cuts < 2; cuts++) {
        const { resumes } = at.tunnel.metrics.snapshot()
        at.clientLine.cut()
        await until(() => at.tunnel.metrics.snapshot().resumes > resumes && openStreams(at.proxy) === 1)
      }
      await stream.end()
    },
    expected: () => closed('ok', false),
  },
  {
    name: "ends well after its agent's link was cut",
    kinds: WITH_AGENT,
    async play(at, kind) {
      const stream = await at.open(kind)
      const accepted = at.agentLine.counters.accepted
      at.agentLine.cut()
      await until(() => at.agentLine.counters.accepted > accepted && openStreams(at.proxy) === 1)
      await stream.end()
    },
    expected: () => closed('ok', false),
  },
  {
    name: 'leaves with a proxy that drains',
    kinds: KINDS,
    isLast: true,
    async play(at, kind) {
      await at.open(kind)
      await at.proxy.close()
    },
    expected: (kind) =>
      kind === 'ssh'
        ? {
            ...closed('TAKEN_OVER', false),
            requests: {},
            audit: ['stream.moved TAKEN_OVER'],
          }
        : closed('SHUTTING_DOWN', true, kind),
  },
  {
    name: 'is not asked for again within the resume window',
    kinds: KINDS,
    isOutwaited: true,
    async play(at, kind) {
      await at.open(kind)
      at.clientLine.refusing = true
      at.clientLine.cut()
    },
    expected: (kind) => closed('RESUME_EXPIRED', true, kind),
  },
  {
    name: 'loses its agent for good',
    kinds: WITH_AGENT,
    isOutwaited: true,
    async play(at, kind) {
      await at.open(kind)
      at.agentLine.refusing = true
      at.agentLine.cut()
    },
    expected: (kind) => closed('AGENT_LOST', true, kind),
  },
]

test('a stream is counted, audited, logged and told to the hooks once', { skip }, async (t) => {
  const shared = await scene(t)
  const brief = await scene(t, [`streams.resumeMs=${BRIEF_MS}`])
  for (const { name, kinds, play, isLast, isOutwaited, expected } of ENDINGS) {
    for (const kind of kinds) {
      await t.test(`one (${kind}) that ${name}`, async (t) => {
        const at = isLast ? await scene(t) : isOutwaited ? brief : shared
        const said = await saidOf(at, kind, () => play(at, kind))
        if (!isLast) await at.mend()
        assert.deepEqual(said, expected(kind))
      })
    }
  }
})
