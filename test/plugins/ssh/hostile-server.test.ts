import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import test, { type TestContext } from 'node:test'
import ssh2 from 'ssh2'
import type { TunnelService } from '../../../client/index.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { startProxy, type TestProxy } from '../../support/proxy.ts'

const MIB = 1_048_576

/** The command had begun when its connection was lost: what it did is not known. */
const isLost = (error: unknown): boolean => {
  assert.ok(error instanceof TunnelError)
  assert.equal(error.code, 'OUTCOME_UNKNOWN')
  assert.equal((error.cause as TunnelError).code, 'AGENT_LOST')
  return true
}

/** What ssh2 keeps to itself: its socket, and messages that its own interface would not send. */
interface Insides {
  _sock: NodeJS.WritableStream & { writableLength: number; pause(): void; destroyed: boolean }
  _protocol: {
    channelData(channel: number, bytes: Buffer): void
    channelWindowAdjust(channel: number, bytes: number): void
    _packetRW: {
      write: { allocStart: number; alloc(size: number): Buffer; finalize(packet: Buffer): Buffer }
    }
    _cipher: { encrypt(packet: Buffer): void }
  }
}
type Channel = ssh2.ServerChannel & { outgoing: { id: number } }

/** A machine whose SSH server lets everybody in and then does to each command what `misbehave` says. */
async function hostile(
  t: TestContext,
  misbehave: (channel: Channel, insides: Insides) => void,
): Promise<{ proxy: TestProxy; tunnel: TunnelService }> {
  const hostKeys = [ssh2.utils.generateKeyPairSync('ecdsa', { bits: 256 }).private]
  const server = new ssh2.Server({ hostKeys }, (client) => {
    client.on('error', () => {})
    client.on('authentication', (authentication) => authentication.accept())
    client.on('session', (accept) =>
      accept().on('exec', (take) => misbehave(take() as Channel, client as unknown as Insides)),
    )
    t.after(() => client.end())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', `127.0.0.1:${(server.address() as AddressInfo).port}`)
  return { proxy, tunnel: await proxy.connect('alice') }
}

/** `exit-signal` (RFC 4254, section 6.10) with any name at all. */
function exitSignal({ _protocol: protocol }: Insides, channel: Channel, name: Buffer): void {
  const { write } = protocol._packetRW
  const body = Buffer.concat([
    Buffer.from([98, 0, 0, 0, channel.outgoing.id, 0, 0, 0, 11]),
    Buffer.from('exit-signal\0'),
    Buffer.from([name.length >> 24, name.length >> 16, name.length >> 8, name.length]),
    name,
    Buffer.alloc(9),
  ])
  const packet = write.alloc(body.length)
  body.copy(packet, write.allocStart)
  protocol._cipher.encrypt(write.finalize(packet))
}

test('a signal whose name is nonsense of any length is KILL, and ends nobody but its command', async (t) => {
  const { proxy, tunnel } = await hostile(t, (channel, insides) => {
    exitSignal(insides, channel, Buffer.alloc(30_000, 1))
    channel.close()
  })
  const { exitCode, signal } = await tunnel.exec('home', 'anything')
  assert.deepEqual([exitCode, signal], [null, 'KILL'])
  assert.equal((await proxy.api('alice', 'machines')).status, 200)
})

test('a server that sends beyond its window loses the connection, not the proxy its memory', async (t) => {
  let pushedBytes = 0
  const { tunnel } = await hostile(t, (channel, { _protocol, _sock }) => {
    const bytes = Buffer.alloc(32_000)
    const push = (): void => {
      while (pushedBytes < 256 * MIB && _sock.writableLength < MIB && !_sock.destroyed) {
        _protocol.channelData(channel.outgoing.id, bytes)
        pushedBytes += bytes.length
      }
      if (!_sock.destroyed) setImmediate(push)
    }
    push()
  })
  const never = new Writable({ write() {} })
  await assert.rejects(tunnel.exec('home', 'anything', { stdout: never }), isLost)
  assert.ok(pushedBytes < 64 * MIB, `${pushedBytes} bytes were taken`)
})

test('a server that grants windows and reads nothing loses the connection, not the proxy its memory', async (t) => {
  const { tunnel } = await hostile(t, (channel, { _protocol, _sock }) => {
    _sock.pause()
    const grant = (): void => {
      if (_sock.destroyed || channel.destroyed) return
      _protocol.channelWindowAdjust(channel.outgoing.id, 1_000_000_000)
      setImmediate(grant)
    }
    grant()
  })
  let takenBytes = 0
  const stdin = async function* (): AsyncGenerator<Uint8Array> {
    while (takenBytes < 256 * MIB) {
      takenBytes += 65_536
      yield Buffer.alloc(65_536)
    }
  }
  await assert.rejects(tunnel.exec('home', 'anything', { stdin: stdin() }), isLost)
  assert.ok(takenBytes < 128 * MIB, `${takenBytes} bytes were taken`)
})

test('a server that closes every channel at once costs each command alone, and keeps its circuit closed', async (t) => {
  const { proxy, tunnel } = await hostile(t, (channel) => channel.close())
  for (let command = 0; command < 6; command++)
    await assert.rejects(tunnel.exec('home', ['true']), { code: 'OUTCOME_UNKNOWN' })
  assert.equal(proxy.app.pool.states().idle, 1)
})
