import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Value } from 'typebox/value'
import { Circuits } from '../../../plugins/breaker/circuits.ts'
import { verdict } from '../../../plugins/breaker/errors.ts'
import type { Route } from '../../../plugins/machines/index.ts'
import { SshOptions } from '../../../plugins/ssh/options.ts'
import { SSHTunnelManager } from '../../../plugins/ssh/tunnel.ts'
import { ERROR_KINDS, type ErrorCode, TunnelError } from '../../../protocol/codec/errors.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const KEY = { user: 'ada', owner: 'ada', machine: 'home' }

function setUp(options = {}) {
  const clock = new VirtualClock()
  const settings = { failures: 3, openMs: 60_000, halfOpenRequests: 1, maxCircuits: 100, ...options }
  return { circuits: new Circuits(settings, clock), pass: (ms: number) => clock.run(clock.now() + ms) }
}

const failing = (code: ErrorCode) => () => Promise.reject(new TunnelError(code, code, { hop: 'proxy' }))

async function fail(
  circuits: Circuits,
  times: number,
  code: ErrorCode = 'AGENT_LOST',
  key = KEY,
): Promise<void> {
  for (let index = 0; index < times; index++) await assert.rejects(circuits.run(key, failing(code)))
}

const isOpen = (error: unknown) => error instanceof TunnelError && error.code === 'CIRCUIT_OPEN'

test('failures in a row open the circuit, which names the machine and says when to come again', async () => {
  const { circuits, pass } = setUp()
  await fail(circuits, 3)
  await pass(20_000)
  let ran = false
  await assert.rejects(
    circuits.run(KEY, async () => {
      ran = true
    }),
    (error: unknown) =>
      isOpen(error) && (error as TunnelError).retryAfterMs === 40_000 && /home/.test(String(error)),
  )
  assert.equal(ran, false)
  assert.deepEqual(circuits.states(), [{ ...KEY, state: 'open', retryAfterMs: 40_000 }])
})

test('every change of a circuit is told, and an administrator may open and close one', async () => {
  const clock = new VirtualClock()
  const told: unknown[] = []
  let refused = 0
  const settings = { failures: 3, openMs: 60_000, halfOpenRequests: 1, maxCircuits: 100 }
  const circuits = new Circuits(settings, clock, {
    changed: ({ machine }, state, by) => told.push([machine, state, by]),
    refused: () => refused++,
  })
  await fail(circuits, 3)
  await assert.rejects(circuits.run(KEY, failing('AGENT_LOST')), isOpen)
  await clock.run(clock.now() + 60_000)
  await circuits.run(KEY, async () => {})
  circuits.set(KEY, 'open', 'root')
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    isOpen,
  )
  circuits.set(KEY, 'closed', 'root')
  await circuits.run(KEY, async () => {})
  assert.equal(refused, 2)
  assert.deepEqual(told, [
    ['home', 'open', undefined],
    ['home', 'half_open', undefined],
    ['home', 'closed', undefined],
    ['home', 'open', 'root'],
    ['home', 'closed', 'root'],
  ])
})

test('a probe whose circuit an administrator has opened meanwhile does not close it', async () => {
  const { circuits, pass } = setUp()
  await fail(circuits, 3)
  await pass(60_000)
  let answer: () => void = () => {}
  const probe = circuits.run(KEY, () => new Promise<void>((resolve) => (answer = resolve)))
  circuits.set(KEY, 'open', 'root')
  answer()
  await probe
  assert.equal(circuits.states()[0]?.state, 'open')
})

test('docs/OPERATIONS.md says of each code as the code does whether it counts', async () => {
  const text = readFileSync(new URL('../../../docs/OPERATIONS.md', import.meta.url), 'utf8')
  for (const how of ['failure', 'success'] as const) {
    const [, row = ''] = new RegExp(`^\\| (.+) \\| ${how}.* \\|$`, 'm').exec(text) ?? []
    const documented = [...row.matchAll(/`(\w+)`/g)].map(([, code]) => code)
    const counted = Object.keys(ERROR_KINDS).filter(
      (code) => verdict(new TunnelError(code as ErrorCode, '', { hop: 'ssh' })) === how,
    )
    assert.deepEqual(documented.sort(), counted.sort())
  }
})

test('a success in between begins the count again', async () => {
  const { circuits } = setUp()
  await fail(circuits, 2)
  await circuits.run(KEY, async () => 'fine')
  await fail(circuits, 2)
  assert.equal(await circuits.run(KEY, async () => 'fine'), 'fine')
})

test('a refusal by the machine proves that the machine is there', async () => {
  const { circuits } = setUp()
  await fail(circuits, 2)
  await assert.rejects(circuits.run(KEY, failing('SSH_AUTH_FAILED')), /SSH_AUTH_FAILED/)
  await fail(circuits, 2)
  assert.equal(circuits.states()[0]?.state, 'closed')
})

test('what says nothing of the machine counts neither way', async () => {
  const { circuits } = setUp()
  await fail(circuits, 2)
  await fail(circuits, 5, 'POOL_EXHAUSTED')
  await fail(circuits, 5, 'MACHINE_OFFLINE')
  const manager = new SSHTunnelManager({ ...Value.Create(SshOptions), masterSecret: 'm'.repeat(40) })
  const route = {
    ...{ owner: 'ada', name: 'home', sshUser: 'me' },
    hostKeys: async () => [],
  } as unknown as Route
  for (let index = 0; index < 5; index++)
    await assert.rejects(
      circuits.run(KEY, () => manager.connect({ userId: 'ada', route })),
      { code: 'SSH_HANDSHAKE_FAILED', message: /no host key of home is known/ },
    )
  await fail(circuits, 1)
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    isOpen,
  )
})

test('after its time an open circuit lets one probe through, whose success closes it', async () => {
  const { circuits, pass } = setUp()
  await fail(circuits, 3)
  await pass(60_000)
  let finish: () => void = () => {}
  const probe = circuits.run(KEY, () => new Promise<void>((resolve) => (finish = resolve)))
  assert.equal(circuits.states()[0]?.state, 'half_open')
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    isOpen,
  )
  finish()
  await probe
  assert.equal(circuits.states()[0]?.state, 'closed')
})

test('a probe that fails opens it again for the whole time', async () => {
  const { circuits, pass } = setUp()
  await fail(circuits, 3)
  await pass(60_000)
  await fail(circuits, 1)
  await pass(59_999)
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    isOpen,
  )
  await pass(1)
  await circuits.run(KEY, async () => {})
})

test('more requests may wait for the verdict of a probe', async () => {
  const { circuits, pass } = setUp({ halfOpenRequests: 2 })
  await fail(circuits, 3)
  await pass(60_000)
  let refuse: () => void = () => {}
  const probe = circuits.run(
    KEY,
    () =>
      new Promise<void>(
        (_, reject) => (refuse = () => reject(new TunnelError('AGENT_LOST', 'gone', { hop: 'proxy' }))),
      ),
  )
  const behind = circuits.run(KEY, async () => {})
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    isOpen,
  )
  refuse()
  await assert.rejects(probe, /gone/)
  await assert.rejects(behind, isOpen)
})

test("one user's circuit closes no door to another user, machine or owner of a machine of that name", async () => {
  const { circuits } = setUp()
  await fail(circuits, 3)
  await circuits.run({ ...KEY, user: 'bob' }, async () => {})
  await circuits.run({ ...KEY, machine: 'office' }, async () => {})
  await circuits.run({ ...KEY, owner: 'bob' }, async () => {})
})

test('the circuits remembered are bounded, and an open one is the last to be forgotten', async () => {
  const { circuits } = setUp({ maxCircuits: 3 })
  await fail(circuits, 3)
  for (let index = 0; index < 10; index++)
    await circuits.run({ ...KEY, machine: `m${index}` }, async () => {})
  assert.equal(circuits.states().length, 3)
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    isOpen,
  )
})

test('a probe that never got as far leaves the probing to the next request', async () => {
  const { circuits, pass } = setUp()
  await fail(circuits, 3)
  await pass(60_000)
  await fail(circuits, 1, 'POOL_EXHAUSTED')
  assert.equal(await circuits.run(KEY, async () => 'fine'), 'fine')
  assert.equal(circuits.states()[0]?.state, 'closed')
})

test('what began before a circuit opened does not close it', async () => {
  const { circuits } = setUp()
  let finish: () => void = () => {}
  const early = circuits.run(KEY, () => new Promise<void>((resolve) => (finish = resolve)))
  await fail(circuits, 3)
  finish()
  await early
  assert.equal(circuits.states()[0]?.state, 'open')
})

test('a wall clock that is set back keeps no circuit open', async (t) => {
  const { circuits, pass } = setUp()
  await fail(circuits, 3)
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 3_600_000 })
  await assert.rejects(
    circuits.run(KEY, async () => {}),
    (error: unknown) => isOpen(error) && (error as TunnelError).retryAfterMs === 60_000,
  )
  await pass(60_000)
  assert.equal(await circuits.run(KEY, async () => 'fine'), 'fine')
})
