import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { Value } from 'typebox/value'
import type { ConfiguredRoute } from '../../../plugins/machines/index.ts'
import type { SSHConnection } from '../../../plugins/ssh/connection.ts'
import { SshOptions } from '../../../plugins/ssh/options.ts'
import { parsePins } from '../../../plugins/ssh/pins.ts'
import { SSHTunnelManager } from '../../../plugins/ssh/tunnel.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { fingerprint } from '../../../protocol/node/host-keys.ts'
import { requireSystem, type Sshd, startSshd } from '../../support/sshd.ts'

const MASTER_SECRET = 'a master secret of a test, long enough'
const CHANNEL = { timeoutMs: 10_000 }

interface Setup {
  sshd: Sshd
  manager: SSHTunnelManager
  /** The same with a shorter time for a connection, in ms. */
  hasty(connectTimeoutMs: number): SSHTunnelManager
  route: ConfiguredRoute
  sockets: Duplex[]
}

async function setUp(
  t: TestContext,
  { authorize = true, access = {}, options = {}, config = [] as string[] } = {} as {
    authorize?: boolean
    access?: Partial<ConfiguredRoute>
    options?: Partial<SshOptions>
    config?: string[]
  },
): Promise<Setup> {
  requireSystem('sshd')
  const sshd = await startSshd(t, { config })
  const sockets: Duplex[] = []
  const route: ConfiguredRoute = {
    ...{ owner: 'ada', name: 'home', source: 'configured', sshUser: sshd.user },
    hostKeyShown: () => {},
    lookup: async (name) => assert.fail(`${name} is resolved`),
    async dial() {
      const socket = net.connect(sshd.port, sshd.host)
      sockets.push(socket)
      await once(socket, 'connect')
      return socket
    },
    hostKeys: async () => sshd.hostKeys,
    ...access,
  }
  const settings = {
    ...Value.Parse(SshOptions, Value.Default(SshOptions, {})),
    masterSecret: MASTER_SECRET,
    ...options,
  }
  const manager = new SSHTunnelManager(settings)
  if (authorize) await sshd.authorize(manager.publicKeys('ada')[0]!.publicKey)
  t.after(() => {
    for (const socket of sockets) socket.destroy()
  })
  const hasty = (connectTimeoutMs: number) => new SSHTunnelManager({ ...settings, connectTimeoutMs })
  return { sshd, manager, hasty, sockets, route }
}

const hasCode =
  (code: string, pattern = /./) =>
  (error: unknown) =>
    error instanceof TunnelError && error.code === code && pattern.test(error.message)

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

/** A TCP service on the machine's side; its port. */
async function service(t: TestContext, onSocket: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, onSocket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as net.AddressInfo).port
}

test('a real sshd lets the derived key in, runs a command and reports its status', async (t) => {
  const { manager, route } = await setUp(t)
  const connection = await manager.connect({ userId: 'ada', route })
  t.after(() => connection.end())
  const channel = await connection.exec('cat; echo trouble >&2; exit 3', CHANNEL)
  channel.end('hello')
  const exit = once(channel, 'exit')
  assert.deepEqual(await Promise.all([text(channel), text(channel.stderr)]), ['hello', 'trouble\n'])
  assert.equal((await exit)[0], 3)
})

test('a TCP channel carries bytes both ways and half closes', async (t) => {
  const { manager, route } = await setUp(t)
  const port = await service(t, (socket) => {
    const received: Buffer[] = []
    socket.on('data', (bytes) => received.push(bytes)).on('end', () => socket.end(Buffer.concat(received)))
  })
  const connection = await manager.connect({ userId: 'ada', route })
  t.after(() => connection.end())
  const channel = await connection.openTcp('127.0.0.1', port, CHANNEL)
  assert.equal(connection.channels, 1)
  const sent = Buffer.alloc(5_000_000, 'x')
  channel.end(sent)
  assert.ok((await buffer(channel)).equals(sent))
  if (connection.channels > 0) await once(channel, 'close')
  assert.equal(connection.channels, 0)
})

test('a port where nobody listens is CONNECT_REFUSED at the target', async (t) => {
  const { manager, route } = await setUp(t)
  const connection = await manager.connect({ userId: 'ada', route })
  t.after(() => connection.end())
  await assert.rejects(connection.openTcp('127.0.0.1', 1, CHANNEL), (error: unknown) => {
    // In the words of the machine, without what ssh2 says before them.
    assert.match((error as TunnelError).message, /^the machine cannot connect to 127\.0\.0\.1:1: \w[\w ]*$/)
    return hasCode('CONNECT_REFUSED')(error) && (error as TunnelError).hop === 'target'
  })
  assert.equal(connection.channels, 0)
})

test('a target that sshd forbids is POLICY_DENIED', async (t) => {
  const { manager, route } = await setUp(t, { config: ['PermitOpen 127.0.0.1:9'] })
  const connection = await manager.connect({ userId: 'ada', route })
  t.after(() => connection.end())
  await assert.rejects(connection.openTcp('127.0.0.1', 1, CHANNEL), hasCode('POLICY_DENIED'))
})

for (const [setting, line, served, other] of [
  ['cipher', 'Ciphers', 'aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'],
  ['kex', 'KexAlgorithms', 'ecdh-sha2-nistp256', 'curve25519-sha256'],
] as const) {
  test(`a server that has none of ssh.algorithms.${setting} is SSH_HANDSHAKE_FAILED, and one that has one is used`, async (t) => {
    const connect = async (name: string): Promise<SSHConnection> => {
      const { algorithms } = Value.Create(SshOptions)
      const options = { algorithms: { ...algorithms, [setting]: [name] } }
      const { manager, route } = await setUp(t, { config: [`${line} ${served}`], options })
      return manager.connect({ userId: 'ada', route })
    }
    const connection = await connect(served)
    connection.end()
    await assert.rejects(connect(other), hasCode('SSH_HANDSHAKE_FAILED'))
  })
}

test('a server that has what Dropbear has, CTR and no encrypt-then-MAC, is connected to by default', async (t) => {
  const { manager, route } = await setUp(t, { config: ['Ciphers aes256-ctr', 'MACs hmac-sha2-256'] })
  const connection = await manager.connect({ userId: 'ada', route })
  t.after(() => connection.end())
  const channel = await connection.exec('echo there', CHANNEL)
  assert.equal(await text(channel), 'there\n')
})

test('what a machine says is compressed where ssh.compression says so, and else not', async (t) => {
  const received = async (compression: boolean): Promise<number> => {
    const { manager, route, sockets } = await setUp(t, { options: { compression } })
    const connection = await manager.connect({ userId: 'ada', route })
    t.after(() => connection.end())
    const channel = await connection.exec('head -c 1000000 /dev/zero', CHANNEL)
    assert.equal((await buffer(channel)).length, 1_000_000)
    return (sockets[0] as net.Socket).bytesRead
  }
  const [compressed, plain] = [await received(true), await received(false)]
  assert.ok(compressed < 100_000, `${compressed} bytes with compression`)
  assert.ok(plain > 1_000_000, `${plain} bytes without`)
})

test('a key that is not authorised is SSH_AUTH_FAILED and says what to do', async (t) => {
  const { manager, route, sockets } = await setUp(t, { authorize: false })
  await assert.rejects(manager.connect({ userId: 'ada', route }), hasCode('SSH_AUTH_FAILED', /--authorize/))
  assert.ok(sockets.every((socket) => socket.destroyed))
})

test('another host key than the pinned one is refused, and both fingerprints are named', async (t) => {
  const pinned = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO3UC7eVSXVVHMBbtKYUOlBC4Wb9bvkM6mBnX0zHZmXy'
  const { manager, route, sshd, sockets } = await setUp(t, { access: { hostKeys: async () => [pinned] } })
  const shown = fingerprint(parsePins(sshd.hostKeys.slice(0, 1))[0]!.blob)
  const known = fingerprint(parsePins([pinned])[0]!.blob)
  await assert.rejects(manager.connect({ userId: 'ada', route }), (error: unknown) => {
    return (
      hasCode('HOST_KEY_CHANGED')(error) &&
      [shown, known].every((it) => (error as Error).message.includes(it))
    )
  })
  assert.ok(sockets.every((socket) => socket.destroyed))
})

test('any one of the pinned keys is enough, whatever its type', async (t) => {
  let pins: string[] = []
  const { manager, route, sshd } = await setUp(t, { access: { hostKeys: async () => pins } })
  for (const key of sshd.hostKeys) {
    pins = [key]
    const connection = await manager.connect({ userId: 'ada', route })
    connection.end()
  }
})

test('without a pinned key nothing is dialled', async (t) => {
  const { manager, route, sockets } = await setUp(t, { access: { hostKeys: async () => [] } })
  await assert.rejects(
    manager.connect({ userId: 'ada', route }),
    hasCode('SSH_HANDSHAKE_FAILED', /no host key of home is known/),
  )
  assert.equal(sockets.length, 0)
})

test('a machine that accepts and says nothing is TIMEOUT, and its socket is closed', async (t) => {
  const port = await service(t, (socket) => t.after(() => socket.destroy()))
  let socket: net.Socket | undefined
  const { manager, route } = await setUp(t, {
    access: {
      async dial() {
        socket = net.connect(port, '127.0.0.1')
        return socket
      },
    },
    options: { connectTimeoutMs: 100 },
  })
  await assert.rejects(manager.connect({ userId: 'ada', route }), hasCode('TIMEOUT'))
  assert.equal(socket?.destroyed, true)
})

test('an sshd that stops answering at any stage of the handshake is TIMEOUT, and its socket is closed', async (t) => {
  const STAGES = 5
  const { sshd, manager, hasty, route } = await setUp(t)
  const relayOf = (onData: (near: net.Socket, bytes: Buffer) => void): Promise<number> =>
    service(t, (near) => {
      const far = net.connect(sshd.port, sshd.host)
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const)
        one.on('error', () => {}).once('close', () => other.destroy())
      near.on('data', (bytes) => far.write(bytes))
      far.on('data', (bytes) => onData(near, bytes))
    })
  const connectBy = (port: number, by: SSHTunnelManager, opened: net.Socket[] = []) =>
    by.connect({
      userId: 'ada',
      route: {
        ...route,
        async dial() {
          const socket = net.connect(port, '127.0.0.1')
          opened.push(socket)
          await once(socket, 'connect')
          return socket
        },
      },
    })
  // Where each thing that it says ends: its name, what it speaks, its keys, and that it lets the user in.
  const ends: number[] = []
  const whole = await relayOf((near, bytes) => {
    ends.push((ends.at(-1) ?? 0) + bytes.length)
    near.write(bytes)
  })
  ;(await connectBy(whole, manager)).end()
  // Two that come together are one.
  assert.ok(ends.length >= STAGES - 1, String(ends))
  const sockets: net.Socket[] = []
  const stops = [0, ...ends.slice(0, -1).slice(0, STAGES - 1), (ends[1] ?? 0) - 1]
  const codes = stops.map(async (stop) => {
    const left = new Map<net.Socket, number>()
    const port = await relayOf((near, bytes) => {
      const said = bytes.subarray(0, left.get(near) ?? stop)
      left.set(near, (left.get(near) ?? stop) - said.length)
      near.write(said)
    })
    return connectBy(port, hasty(2_000), sockets).then(
      () => 'connected',
      ({ code }: TunnelError) => code,
    )
  })
  assert.deepEqual(await Promise.all(codes), Array(stops.length).fill('TIMEOUT'))
  assert.ok(sockets.length === stops.length && sockets.every(({ destroyed }) => destroyed))
})

test('something that is no SSH server is SSH_HANDSHAKE_FAILED', async (t) => {
  const port = await service(t, (socket) =>
    socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
  )
  const { manager, route } = await setUp(t, {
    access: { dial: async () => net.connect(port, '127.0.0.1') },
  })
  await assert.rejects(manager.connect({ userId: 'ada', route }), hasCode('SSH_HANDSHAKE_FAILED'))
})

test('a machine that floods before it has said who it is, or instead of its keys, costs that connection alone', async (t) => {
  const ignored = Buffer.alloc(1_024)
  // SSH_MSG_IGNORE (RFC 4253, section 11.2), which is allowed at any time and as often as its sender likes.
  ignored.writeUInt32BE(1_020)
  ignored.set([8, 2, 0, 0, 0x03, 0xed], 4)
  const name = 'SSH-2.0-flood\r\n'
  const tooLong = Buffer.from([0x7f, 0xff, 0xff, 0xff, 8])
  let port = 0
  const { manager, hasty, route } = await setUp(t, {
    access: { dial: async () => net.connect(port, '127.0.0.1') },
  })
  let turns = 0
  for (const [head, piece, code] of [
    ['', 'a greeting\r\n'.repeat(5_000), 'SSH_HANDSHAKE_FAILED'],
    ['', 'x'.repeat(65_536), 'SSH_HANDSHAKE_FAILED'],
    [Buffer.concat([Buffer.from(name), tooLong]), Buffer.alloc(65_536), 'SSH_HANDSHAKE_FAILED'],
    [name, Buffer.concat(Array(64).fill(ignored)), 'TIMEOUT'],
  ] as const) {
    let floodedBytes = 0
    const flooded = withResolvers()
    port = await service(t, (socket) => {
      const flood = (): void => {
        while (socket.writable) {
          floodedBytes += piece.length
          if (!socket.write(piece)) return void socket.once('drain', flood)
        }
      }
      socket.on('error', () => {}).once('close', flooded.resolve)
      socket.write(head)
      flood()
    })
    const turning = setInterval(() => turns++, 10)
    const by = code === 'TIMEOUT' ? hasty(1_000) : manager
    await assert
      .rejects(by.connect({ userId: 'ada', route }), hasCode(code))
      .finally(() => clearInterval(turning))
    await flooded.promise
    assert.ok(code === 'TIMEOUT' || floodedBytes < 16_777_216, `${floodedBytes} bytes were taken`)
  }
  // What floods for a second leaves room for others.
  assert.ok(turns >= 10, `${turns} turns`)
})

test('what ends the way to the machine is told by its own code', async (t) => {
  const offline = new TunnelError('MACHINE_OFFLINE', 'home is off line', { hop: 'proxy' })
  const { manager, route } = await setUp(t, { access: { dial: () => Promise.reject(offline) } })
  await assert.rejects(manager.connect({ userId: 'ada', route }), offline)
})

test('giving up while connecting is ABORTED', async (t) => {
  const { manager, route } = await setUp(t, { access: { dial: () => new Promise(() => {}) } })
  const abort = new AbortController()
  const connecting = manager.connect({ userId: 'ada', route, signal: abort.signal })
  setImmediate(() => abort.abort())
  await assert.rejects(connecting, hasCode('ABORTED'))
})

test('a cut connection fails its channels and never ends them as if their peer had', async (t) => {
  const { manager, route, sockets } = await setUp(t)
  const port = await service(t, (socket) => socket.on('error', () => {}).write('half a mess'))
  const connection = await manager.connect({ userId: 'ada', route })
  const channel = await connection.openTcp('127.0.0.1', port, CHANNEL)
  await once(channel, 'data')
  const failed = once(channel, 'error')
  const closed = new Promise((resolve) => connection.onClose(resolve))
  sockets[0]!.destroy(new TunnelError('AGENT_LOST', 'the agent went away', { hop: 'proxy' }))
  assert.equal((await failed.catch((error: unknown) => [error]))[0].code, 'AGENT_LOST')
  assert.equal(((await closed) as TunnelError).code, 'AGENT_LOST')
  await assert.rejects(connection.openTcp('127.0.0.1', port, CHANNEL), hasCode('AGENT_LOST'))
})

test('a channel of which nothing is read stops its sender', async (t) => {
  const { manager, route } = await setUp(t)
  let written = 0
  const blocked = withResolvers()
  const port = await service(t, (socket) => {
    socket.on('error', () => {})
    const chunk = Buffer.alloc(262_144)
    const pump = (): void => {
      const went = socket.write(chunk, () => {
        written += chunk.length
        if (written < 64 * 1_048_576) pump()
      })
      if (!went) blocked.resolve()
    }
    pump()
  })
  const connection = await manager.connect({ userId: 'ada', route })
  t.after(() => connection.end())
  const channel = await connection.openTcp('127.0.0.1', port, CHANNEL)
  await blocked.promise
  const other = await connection.exec('echo free', CHANNEL)
  assert.equal(await text(other), 'free\n')
  assert.ok(channel.readableLength <= 4 * 1_048_576, `${channel.readableLength} bytes were kept`)
})
