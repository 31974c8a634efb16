import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { LocalError } from '../../../cli/failure.ts'
import { Listener } from '../../../cli/forwarding/listener.ts'
import { type LocalAddress, parseLocalAddress } from '../../../cli/forwarding/local-address.ts'
import { run } from '../../support/process.ts'
import { listenTcp } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'

const greet = { connection: (socket: Socket) => void socket.on('error', () => {}).destroy(), error: () => {} }

async function open(t: TestContext, text: string): Promise<Listener> {
  const listener = await Listener.open(parseLocalAddress(text) as LocalAddress, greet)
  t.after(() => listener.close())
  return listener
}

async function answers(place: { host: string; port: number } | { path: string }): Promise<boolean> {
  const socket = connect(place)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

const fails = (code: string, said: RegExp) => (error: unknown) => {
  assert.ok(error instanceof LocalError, String(error))
  assert.equal(error.code, code)
  assert.match(error.message, said)
  return true
}

test('port 0 is one port that is free, of both loopback addresses', async (t) => {
  const { names } = await open(t, '0')
  const port = Number(names[0]?.split(':').pop())
  assert.equal(names[0], `127.0.0.1:${port}`)
  if (names.length > 1) assert.deepEqual(names.slice(1), [`[::1]:${port}`])
  assert.ok(await answers({ host: '127.0.0.1', port }))
})

test('a port that is in use is told, and nothing of the listener is left', async (t) => {
  const taken = await listenTcp(t, () => {})
  const port = Number(taken.split(':')[1])
  await assert.rejects(open(t, String(port)), fails('ADDRESS_IN_USE', new RegExp(`port ${port} is in use`)))
  // Free for IPv4 alone.
  const six = createServer()
  const isThere = await new Promise<boolean>((resolve) => {
    six.once('error', () => resolve(false)).listen(0, '::1', () => resolve(true))
  })
  if (!isThere) return
  t.after(() => six.close())
  const sixPort = (six.address() as { port: number }).port
  await assert.rejects(open(t, String(sixPort)), fails('ADDRESS_IN_USE', /is in use/))
  assert.equal(await answers({ host: '127.0.0.1', port: sixPort }), false)
  await assert.rejects(open(t, '192.0.2.1:0'), fails('LISTEN_FAILED', /192\.0\.2\.1 is not an address/))
})

test('a socket is for its owner alone, and is gone when the listener is', async (t) => {
  const path = join(await tempFolder(t), 'x.sock')
  const listener = await open(t, path)
  assert.deepEqual(listener.names, [path])
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.ok(await answers({ path }))
  await assert.rejects(open(t, path), fails('ADDRESS_IN_USE', /is in use by another program/))
  assert.ok(await answers({ path }), 'the one that listens keeps its place')
  listener.close()
  assert.equal(existsSync(path), false)
})

test('a socket that a killed process has left is replaced; a file is not', async (t) => {
  const folder = await tempFolder(t)
  const path = join(folder, 'x.sock')
  const program = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  await run(process.execPath, ['-e', program, path])
  assert.ok(existsSync(path))
  await open(t, path)
  assert.ok(await answers({ path }))
  const file = join(folder, 'notes')
  writeFileSync(file, 'mine')
  await assert.rejects(open(t, file), fails('ADDRESS_IN_USE', /in use/))
  await assert.rejects(
    open(t, join(folder, 'none', 'x')),
    fails('LISTEN_FAILED', /folder of .* does not exist/),
  )
  const long = join(folder, 'x'.repeat(120))
  await assert.rejects(open(t, long), fails('LISTEN_FAILED', /bytes at most/))
  assert.equal(existsSync(long.slice(0, 107)), false)
})
