import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Value } from 'typebox/value'
import { MachineDirectory } from '../../../plugins/machines/directory.ts'
import type { Json, State } from '../../../plugins/state/index.ts'
import type { Link } from '../../../protocol/index.ts'
import { StreamsOptions } from '../../../protocol/options.ts'
import { helloOf, linkOf } from '../../protocol/parties.ts'
import { MemoryPair } from '../../support/memory-transport.ts'
import { newPublicKey } from '../../support/public-key.ts'
import { tiersByDefault } from '../../support/tiers.ts'
import { userOf } from '../../support/user.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/** A state whose writes the test counts and makes fail. */
class Store {
  readonly records = new Map<string, Json>()
  writes = 0
  failing = false
  loss: State['loss']

  async list(): Promise<[string, Json][]> {
    return [...this.records]
  }
  watch(): () => void {
    return () => {}
  }
  async put(_namespace: string, key: string, value: Json): Promise<void> {
    this.writes++
    if (this.failing) throw new Error('ENOSPC')
    this.records.set(key, value)
  }
  async delete(_namespace: string, key: string): Promise<void> {
    if (this.failing) throw new Error('ENOSPC')
    this.records.delete(key)
  }
}

async function setUp(t: TestContext) {
  const clock = new VirtualClock()
  const store = new Store()
  const directory = new MachineDirectory({}, Value.Create(StreamsOptions), store as unknown as State, {
    clock,
  })
  await directory.follow(() => {})
  t.after(() => directory.close())
  const pass = (ms: number) => clock.run(clock.now() + ms)
  /** An agent's link, and what became of its enrolment. */
  const enrol = async (hostKeys: string[], instance = 'agent') => {
    const pair = new MemoryPair({ clock })
    let enrolled: Promise<void> | undefined
    const far: Link = linkOf(pair.b, clock, false, {
      ready: () => {
        enrolled = directory.enrol(
          'ada',
          'home',
          { hostKeys, sshUser: 'me' },
          { link: far, isFresh: () => true, limits: tiersByDefault().free },
        )
        enrolled.catch(() => {})
      },
      closed: () => directory.lost('ada', 'home', far),
    })
    const near = linkOf(pair.a, clock, true, {}, helloOf('agent', { instance, machine: 'home' }))
    await pass(10)
    return { near, far, enrolled }
  }
  return { store, directory, enrol, pass }
}

const KEY = newPublicKey()

test('a machine that comes back as it was is on line without a write, on a full disk too', async (t) => {
  const { store, directory, enrol } = await setUp(t)
  await (await enrol([KEY])).enrolled
  assert.equal(store.writes, 1)
  store.failing = true
  await (await enrol([KEY])).enrolled
  assert.equal(store.writes, 1)
  assert.equal(directory.find('ada', 'home')?.online, true)
})

test('a machine that cannot be stored is not in, and is not known', async (t) => {
  const { store, directory, enrol } = await setUp(t)
  store.failing = true
  await assert.rejects((await enrol([KEY])).enrolled ?? Promise.resolve(), /ENOSPC/)
  assert.equal(directory.find('ada', 'home'), undefined)
  store.failing = false
  await (await enrol([KEY])).enrolled
  assert.equal(directory.find('ada', 'home')?.online, true)
  assert.equal(store.records.size, 1)
})

test('a machine that cannot be forgotten on disk is not forgotten', async (t) => {
  const { store, directory, enrol } = await setUp(t)
  await (await enrol([KEY])).enrolled
  store.failing = true
  await assert.rejects(directory.forget('ada', 'home'), /ENOSPC/)
  assert.equal(directory.find('ada', 'home')?.online, true)
})

test('forgetting a machine ends every link of its agent and tells who else has something of it', async (t) => {
  const { directory, enrol, pass } = await setUp(t)
  const [older, newer] = [await enrol([KEY]), await enrol([KEY])]
  const told: string[] = []
  directory.onForgotten((owner, name) => told.push(`${owner} ${name}`))
  const route = await directory.resolve(userOf('ada'), 'home')
  await directory.forget('ada', 'home')
  await pass(10)
  for (const { near } of [older, newer]) assert.equal(near.closedWith?.code, 'TAKEN_OVER')
  assert.deepEqual(told, ['ada home'])
  await assert.rejects(directory.resolve(userOf('ada'), 'home'), { code: 'MACHINE_UNKNOWN' })
  if (route.source === 'agent') await assert.rejects(route.link(), { code: 'MACHINE_UNKNOWN' })
  for (const failing of [route.hostKeys(), route.dial()])
    await assert.rejects(failing, { code: 'MACHINE_UNKNOWN' })
})

test('after pins were lost the keys of a machine that is new wait for its owner, however often it comes', async (t) => {
  const { store, directory, enrol } = await setUp(t)
  store.loss = { records: 3, file: 'db.records' }
  await (await enrol([KEY])).enrolled
  store.loss = undefined
  await (await enrol([KEY])).enrolled
  const route = await directory.resolve(userOf('ada'), 'home')
  await assert.rejects(route.hostKeys(), { code: 'HOST_KEY_CHANGED' })
  assert.equal(directory.find('ada', 'home')?.hostKeyChanged, true)
  await directory.trust('ada', 'home')
  assert.deepEqual(await route.hostKeys(), [KEY])
})
