import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import test, { type TestContext } from 'node:test'
import ssh2 from 'ssh2'
import { LoginWatch } from '../../agent/login-watch.ts'
import { type Asker, type Login, Logins, watchLogin } from '../../agent/logins.ts'
import type { AgentOptions } from '../../agent/options.ts'
import { SourceAddresses } from '../../agent/source-address.ts'
import type { TunnelError, TunnelService } from '../../client/index.ts'
import { drop, startProxy, until } from '../support/proxy.ts'
import { penalisingSshd, requireSystem, type Sshd, type SshdOptions, startSshd } from '../support/sshd.ts'

const skip =
  process.platform === 'linux' ? requireSystem('sshd') : 'only Linux has all of 127.0.0.0/8 on loopback'
const program = penalisingSshd()

/** One machine that two users may log in to, as a rule lets them. */
async function sharedMachine(t: TestContext, options: SshdOptions, agent: Partial<AgentOptions> = {}) {
  const rules = [{ effect: 'allow', users: ['bob'], owners: ['alice'], machines: ['home'] }]
  const set = [`policy.rules=${JSON.stringify(rules)}`]
  const [proxy, sshd] = await Promise.all([startProxy(t, { set }), startSshd(t, options)])
  await proxy.startAgent('home', 'alice', `127.0.0.1:${sshd.port}`, agent)
  const [alice, bob] = await Promise.all([proxy.connect('alice'), proxy.connect('bob')])
  return { sshd, alice, bob }
}

const openSsh = (tunnel: TunnelService) => tunnel.open({ machine: 'home', kind: 'ssh' })

/** Logs in as a client would. Resolves with the code of what went wrong, or with 'in'. */
async function logIn(tunnel: TunnelService, sshd: Sshd, privateKey: string): Promise<string> {
  let sock: Awaited<ReturnType<typeof openSsh>>
  try {
    sock = await openSsh(tunnel)
  } catch (error) {
    return (error as { code: string }).code
  }
  const client = new ssh2.Client()
  const outcome = new Promise<string>((resolve) => {
    client.on('ready', () => resolve('in')).on('error', () => resolve('refused'))
    client.on('close', () => resolve('refused'))
  })
  client.connect({ sock, username: sshd.user, privateKey })
  try {
    return await outcome
  } finally {
    client.end()
    drop(sock)
  }
}

const wrongKey = () => ssh2.utils.generateKeyPairSync('ed25519').private

test('a hundred bad logins of one user keep nobody else out of a machine whose sshd punishes addresses', {
  skip: skip ?? (program === undefined ? 'no OpenSSH of 9.8 or newer is installed' : undefined),
}, async (t) => {
  const options = { program, config: ['PerSourcePenalties authfail:60s min:1s max:300s'] }
  const attack = async (logins: number, more: Partial<AgentOptions> = {}) => {
    const { sshd, alice, bob } = await sharedMachine(t, options, more)
    const key = await readFile(sshd.clientKeyFile, 'utf8')
    assert.equal(await logIn(bob, sshd, key), 'in')
    const outcomes: string[] = []
    for (let count = 0; count < logins; count++) outcomes.push(await logIn(alice, sshd, wrongKey()))
    return { outcomes, bobs: await logIn(bob, sshd, key), again: await logIn(alice, sshd, key) }
  }
  const { outcomes, bobs, again } = await attack(100)
  assert.equal(outcomes[0], 'refused')
  assert.ok(outcomes.filter((outcome) => outcome === 'RATE_LIMITED').length > 90, outcomes.join(' '))
  assert.deepEqual([bobs, again], ['in', 'RATE_LIMITED'])
  // With one address for all it is as it was.
  assert.equal((await attack(10, { oneSource: true })).bobs, 'RATE_LIMITED')
})

test('one user whose logins do not end takes not all the places that sshd has for logins', {
  skip,
}, async (t) => {
  const { sshd, alice, bob } = await sharedMachine(t, { config: ['MaxStartups 10:100:10'] })
  const opening = Array.from({ length: 30 }, () => openSsh(alice))
  const held = await Promise.all(opening.slice(0, 8))
  await Promise.all(held.map((stream) => once(stream, 'data')))
  const key = await readFile(sshd.clientKeyFile, 'utf8')
  for (let count = 0; count < 3; count++) assert.equal(await logIn(bob, sshd, key), 'in')
  // Whoever waits gets in when another is done.
  for (const stream of held) drop(stream)
  await Promise.all(opening.map(async (stream) => drop(await stream)))
})

test('sessions that are logged in leave their places to others, however long they last', {
  skip,
}, async (t) => {
  const { sshd, alice } = await sharedMachine(t, {})
  const privateKey = await readFile(sshd.clientKeyFile, 'utf8')
  for (let count = 0; count < 12; count++) {
    const sock = await openSsh(alice)
    const client = new ssh2.Client()
    client.connect({ sock, username: sshd.user, privateKey })
    await once(client, 'ready')
    t.after(() => client.end())
  }
})

test('each user has an address of loopback, which nobody can choose', () => {
  const [one, other] = [new SourceAddresses(), new SourceAddresses()]
  const addresses = ['alice', 'bob', ''].map((whose) => one.addressFor(whose))
  if (process.platform !== 'linux') return assert.deepEqual(addresses, [undefined, undefined, undefined])
  assert.equal(new Set(addresses).size, 3)
  assert.equal(one.addressFor('alice'), addresses[0])
  assert.notEqual(other.addressFor('alice'), addresses[0])
  for (let count = 0; count < 1_000; count++) {
    const octets = one.addressFor(`user-${count}`)?.split('.').map(Number) ?? []
    assert.ok(octets[0] === 127 && octets[1]! > 0 && octets[3]! > 0 && octets[3]! < 255, octets.join('.'))
  }
  assert.equal(new SourceAddresses(false).addressFor('alice'), undefined)
})

/** An SSH packet (RFC 4253, section 6) of `length` bytes with this message. */
function packet(message: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  bytes.writeUInt32BE(length - 4)
  bytes[5] = message
  return bytes
}

test('a login is over when sshd has sent more than it sends to whoever is not in, however it is cut', () => {
  const clear = [Buffer.from('hello\r\nSSH-2.0-x\r\n'), packet(20, 1_136), packet(31, 1_232), packet(21, 16)]
  const bytes = Buffer.concat([...clear, Buffer.alloc(896)])
  for (const step of [1, 5, 7, 1_000, bytes.length]) {
    const watch = new LoginWatch()
    let isOver = false
    for (let at = 0; at < bytes.length; at += step) {
      assert.equal(isOver, false)
      isOver = watch.feed(bytes.subarray(at, at + step))
    }
    assert.equal(isOver, true)
  }
  const watch = new LoginWatch()
  assert.equal(watch.feed(bytes.subarray(0, -1)), false)
  assert.equal(new LoginWatch().feed(Buffer.concat([clear[0]!, Buffer.alloc(6, 0xff)])), true)
  assert.equal(new LoginWatch().feed(Buffer.alloc(9_000, 'x')), true)
})

test('a login is over with the answer that lets its client in, however little sshd says behind it', () => {
  const clear = Buffer.concat([
    Buffer.from('SSH-2.0-x\r\n'),
    packet(20, 1_136),
    packet(31, 452),
    packet(21, 16),
  ])
  // As chacha20-poly1305, AES-GCM and AES-CTR with HMAC-SHA2-256 make it: the algorithms, SERVICE_ACCEPT, a refusal, success.
  for (const [algorithms, accept, refusal, success] of [
    [300, 44, 60, 28],
    [308, 52, 68, 36],
    [324, 68, 84, 52],
  ] as const) {
    const watch = new LoginWatch()
    assert.equal(watch.feed(Buffer.concat([clear, Buffer.alloc(algorithms)])), false)
    for (const byteCount of [accept, refusal, refusal])
      assert.equal(watch.feed(Buffer.alloc(byteCount)), false)
    assert.equal(watch.feed(Buffer.alloc(success)), true)
  }
})

test('a login that is given up while it waits, or before, takes no place', async () => {
  const logins = new Logins()
  const never = { gone: new AbortController().signal }
  const places = await Promise.all(Array.from({ length: 8 }, () => logins.begin('alice', never)))
  const gone = new AbortController()
  const waits = logins.begin('alice', { gone: gone.signal })
  const next = logins.begin('alice', never)
  gone.abort()
  await assert.rejects(waits, { code: 'ABORTED' })
  places[0]!.over()
  places[0]!.over()
  ;(await next).over()
  let isIn = false
  const two = [logins.begin('alice', never), logins.begin('alice', never)]
  void two[1]!.then(() => {
    isIn = true
  })
  await two[0]
  assert.equal(isIn, false)
  places[1]!.over()
  await until(() => isIn)
  await logins.begin('bob', never)
})

test('whoever is away when its turn comes lets others go first, and has the next turn when it is back', async () => {
  const logins = new Logins()
  const never = { gone: new AbortController().signal }
  const places = await Promise.all(Array.from({ length: 8 }, () => logins.begin('alice', never)))
  let isAway = true
  let isIn = false
  const asker = { ...never, isAway: () => isAway }
  const away = logins.begin('alice', asker).then(() => {
    isIn = true
  })
  const next = logins.begin('alice', never)
  places[0]!.over()
  ;(await next).over()
  assert.equal(isIn, false)
  isAway = false
  logins.back('alice', asker)
  await away
})

test('a login whose caller has long been away gives its place to one that waits, and no sooner', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const logins = new Logins()
  const never = { gone: new AbortController().signal }
  const ended: string[] = []
  const places = new Map<string, Login>()
  const begin = async (name: string): Promise<Asker> => {
    const giveUp = (error: TunnelError): void => {
      ended.push(`${name} ${error.code}`)
      places.get(name)?.over()
    }
    const asker = { ...never, giveUp }
    places.set(name, await logins.begin('alice', asker))
    return asker
  }
  const [killed, roaming] = await Promise.all(['killed', 'roaming', '3', '4', '5', '6', '7', '8'].map(begin))
  for (const asker of [killed!, roaming!]) logins.away('alice', asker)
  t.mock.timers.tick(9_000)
  logins.back('alice', roaming!)
  t.mock.timers.tick(9_000)
  // Nobody wants the place.
  assert.deepEqual(ended, [])
  await begin('next')
  assert.deepEqual(ended, ['killed TOO_MANY_CONNECTIONS'])
  const waits = begin('one more')
  t.mock.timers.tick(14_000)
  assert.equal(ended.length, 1)
  logins.away('alice', roaming!)
  places.get('8')?.over()
  await waits
})

test('when the agent stops, no timer is left that would give a place to whoever waits', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const never = { gone: new AbortController().signal }
  for (const stops of [false, true]) {
    const logins = new Logins()
    const places = await Promise.all(Array.from({ length: 8 }, () => logins.begin('alice', never)))
    const sockets = places.map((place) => {
      const socket = new Socket()
      watchLogin(socket, place)
      return socket
    })
    let isIn = false
    void logins.begin('alice', never).then(() => {
      isIn = true
    })
    // One closes before the agent stops, the other behind that.
    sockets[0]!.destroy()
    await once(sockets[0]!, 'close')
    if (stops) logins.close()
    sockets[1]!.destroy()
    await once(sockets[1]!, 'close')
    t.mock.timers.tick(250)
    await Promise.resolve()
    assert.equal(isIn, !stops)
    for (const socket of sockets) socket.destroy()
  }
})
