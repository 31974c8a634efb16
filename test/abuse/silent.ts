import type { TunnelService } from '../../client/index.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { type Outcome, steadily } from '../load/steady.ts'
import { startProxy, type TestProxy, until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { startSshd } from '../support/sshd.ts'

/** Who is asked meanwhile: another machine of the same user, and another user's. */
const BYSTANDERS = ['same user', 'other user'] as const
type Bystander = (typeof BYSTANDERS)[number]

export interface SilentReport {
  quiet: Record<Bystander, Outcome>
  /** While the machine is gone. */
  gone: Record<Bystander, Outcome>
  /** Of the requests to the machine, what they ended with, by code, and how many did before its circuit was open. */
  failures: Record<string, number>
  failedBeforeOpen: number
  openAfterMs: number
  /** From when the machine was there again, until a request to it was answered. */
  backAfterMs: number
  /** Of circuits, as the metrics have them. */
  transitions: Record<string, number>
}

export interface SilentOptions {
  /** Of the service on the machines. */
  port: number
  /** To each bystander; a fifth of it to the machine that is gone. */
  perSecond: number
  /** Quiet, and then with the machine gone. */
  seconds: number
}

const LIMITS_MS = { request: 2_000, connect: 2_000, open: 3_000 }

/** A machine with requests under way stops in the midst of them: nothing passes, and nothing closes. Later it goes on. */
export async function runSilent(scope: Scope, options: SilentOptions): Promise<SilentReport> {
  const { port, perSecond, seconds } = options
  const { request, connect, open } = LIMITS_MS
  const set = [`request.timeoutMs=${request}`, `ssh.connectTimeoutMs=${connect}`, `breaker.openMs=${open}`]
  const [proxy, sshd] = await Promise.all([startProxy(scope, { set }), startSshd(scope)])
  for (const user of ['alice', 'bob']) await sshd.authorize(proxy.app.ssh.publicKey(user))
  const way = await FaultRelay.listen(scope, { target: sshd })
  await proxy.startAgent('silent', 'alice', `${way.host}:${way.port}`)
  await proxy.startAgent('home', 'alice', sshd)
  await proxy.startAgent('home', 'bob', sshd)
  const [alice, bob] = await Promise.all([proxy.connect('alice'), proxy.connect('bob')])
  const ask = (tunnel: TunnelService, machine: string) => async () =>
    (await tunnel.forwardRequest({ machine, port, path: '/' })).status
  const toSilent = ask(alice, 'silent')
  const phase = async (): Promise<Record<Bystander, Outcome>> => {
    const outcomes = await Promise.all([
      steadily(ask(alice, 'home'), perSecond, seconds),
      steadily(ask(bob, 'home'), perSecond, seconds),
    ])
    return { 'same user': outcomes[0], 'other user': outcomes[1] }
  }
  const beside = Math.ceil(perSecond / 5)
  // What connects first is no measure of what is asked later.
  await Promise.all([toSilent(), ask(alice, 'home')(), ask(bob, 'home')()])
  const [quiet] = await Promise.all([phase(), steadily(toSilent, beside, seconds)])

  way.freeze()
  const goneMs = performance.now()
  let openAfterMs = Number.POSITIVE_INFINITY
  let failedBeforeOpen = 0
  const watched = () =>
    toSilent().catch((error: { code?: string }) => {
      if (error.code !== 'CIRCUIT_OPEN') failedBeforeOpen += openAfterMs === Number.POSITIVE_INFINITY ? 1 : 0
      else openAfterMs = Math.min(openAfterMs, performance.now() - goneMs)
      throw error
    })
  const [gone, asked] = await Promise.all([phase(), steadily(watched, beside, seconds)])

  way.thaw()
  const thereMs = performance.now()
  const isBack = () =>
    toSilent().then(
      (status) => status === 200,
      () => false,
    )
  await until(isBack, 60_000)
  const backAfterMs = performance.now() - thereMs
  const transitions = await transitionsOf(proxy)
  return { quiet, gone, failures: asked.errors, failedBeforeOpen, openAfterMs, backAfterMs, transitions }
}

async function transitionsOf(proxy: TestProxy): Promise<Record<string, number>> {
  const text = await (await proxy.api(undefined, 'metrics')).text()
  const lines = text.matchAll(/^tunnel_circuit_transitions_total\{to="(\w+)"\} (\d+)$/gm)
  return Object.fromEntries([...lines].map(([, to, count]) => [to, Number(count)]))
}
