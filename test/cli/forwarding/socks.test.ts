import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { listenTcp, until } from '../../support/proxy.ts'
import { requireSystem } from '../../support/sshd.ts'
import { tunnel } from '../tunnel.ts'
import { Caller, portOf, startGround } from './forwarding.ts'

const skip = requireSystem('sshd')

const latin1 = (bytes: number[]) => Buffer.from(bytes).toString('latin1')
const GREETED = latin1([5, 0])
const answer5 = (reply: number) => latin1([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
const answer4 = (reply: number) => latin1([0, reply, 0, 0, 0, 0, 0, 0])
const portBytes = (port: number) => [port >> 8, port & 0xff]

/** What a SOCKS 5 client asks for, as a name. */
const request5 = (host: string, port: number) => [
  5,
  1,
  0,
  3,
  host.length,
  ...Buffer.from(host),
  ...portBytes(port),
]

/** Says all of `bytes` at once, and resolves with the answer, without that to the greeting. */
async function answerTo(t: TestContext, port: number, bytes: number[]): Promise<string> {
  const caller = new Caller(t, port)
  caller.socket.write(Buffer.from([5, 1, 0, ...bytes]))
  const text = await caller.read(12)
  assert.equal(text.slice(0, 2), GREETED)
  return text.slice(2)
}

test('tunnel socks', { skip }, async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const echoPort = Number(echo.split(':')[1])
  const { proxy, env, start } = await startGround(t, [echo])
  const program = await start(['socks', 'home', '--listen', '0'])
  const port = await portOf(program)

  await t.test(
    'carries bytes to an address, to a name that the machine resolves, and for clients of SOCKS 4',
    async (t) => {
      const asks: [bytes: number[], answer: string][] = [
        [[5, 1, 0, ...request5('localhost', echoPort)], GREETED + answer5(0)],
        [[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, ...portBytes(echoPort)], GREETED + answer5(0)],
        [[4, 1, ...portBytes(echoPort), 127, 0, 0, 1, 0], answer4(90)],
        [[4, 1, ...portBytes(echoPort), 0, 0, 0, 9, 0, ...Buffer.from('localhost'), 0], answer4(90)],
      ]
      for (const [bytes, answer] of asks) {
        const caller = new Caller(t, port)
        // The request, and behind it what belongs to the connection.
        caller.socket.write(Buffer.from([...bytes, ...Buffer.from('early')]))
        assert.equal(await caller.read(answer.length + 5), `${answer}early`)
        caller.socket.end('late')
        assert.equal(await caller.over, 'end')
        assert.equal(caller.text, `${answer}earlylate`)
      }
      assert.equal(program.stderr, '')
    },
  )

  await t.test('carries two hundred connections at once', async (t) => {
    const greeting = Buffer.from([5, 1, 0, ...request5('127.0.0.1', echoPort)])
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const caller = new Caller(t, port)
        caller.socket.write(greeting)
        caller.socket.write(`${1_000 + index}`)
        assert.equal(await caller.read(16), `${GREETED}${answer5(0)}${1_000 + index}`)
      }),
    )
    assert.equal(program.stderr, '')
  })

  await t.test('says what went wrong with the reply that SOCKS has for it, and in a line', async (t) => {
    assert.equal(await answerTo(t, port, request5('127.0.0.1', 1)), answer5(5))
    assert.equal(await answerTo(t, port, request5('a b', 80)), answer5(4))
    assert.equal(await answerTo(t, port, request5('h', 0)), answer5(4))
    await program.line(/^tunnel socks: home, 127\.0\.0\.1:1: .*\(target, CONNECT_REFUSED\)/, 'stderr')
    await program.line(/"a b", port 80, is not an address that can be reached/, 'stderr')
    const web = new Caller(t, port)
    web.socket.write('GET http://home/ HTTP/1.1\r\nHost: home\r\n\r\n')
    await web.over
    await program.line(/a client speaks HTTP: enter this address as a SOCKS proxy/, 'stderr')
  })

  await t.test(
    'a client that goes away in its greeting, or while it waits, leaves nothing behind',
    async (t) => {
      for (const bytes of [[], [5], [5, 1, 0], [5, 1, 0, ...request5('127.0.0.1', echoPort)]]) {
        const caller = new Caller(t, port)
        caller.socket.write(Buffer.from(bytes))
        caller.socket.destroySoon()
      }
      const caller = new Caller(t, port)
      caller.socket.write(Buffer.from([5, 1, 0, ...request5('127.0.0.1', echoPort)]))
      await caller.read(12)
      caller.socket.resetAndDestroy()
      await until(async () => (await proxy.metric('tunnel_streams')) === 0)
    },
  )

  await t.test('--sealed reaches what the agent allows, and nothing else', async (t) => {
    const sealed = await start(['socks', '--sealed', 'home', '--listen', '0'])
    const sealedPort = await portOf(sealed)
    assert.equal(await answerTo(t, sealedPort, request5('127.0.0.1', echoPort)), answer5(0))
    assert.equal(await answerTo(t, sealedPort, request5('localhost', echoPort)), answer5(2))
    await sealed.line(/\(agent, POLICY_DENIED\)/, 'stderr')
    await sealed.stop()
  })

  await t.test('whoever listens for others is warned in one line', async () => {
    const open = await start(['socks', 'home', '--listen', '*:0'])
    await open.line(/warning/, 'stderr')
    assert.match(open.stderr, /^tunnel socks: warning: whoever reaches \*:0 gets out at home as you[^\n]*\n$/)
    await open.stop()
    assert.equal(program.stderr.includes('warning'), false)
  })

  await t.test('where its port is in use the status is 1', async () => {
    const { code, stdout, stderr } = await tunnel(['socks', 'home', '--listen', `127.0.0.1:${port}`], { env })
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(
      stderr,
      /^tunnel socks: port \d+ of 127\.0\.0\.1 is in use by another program \(ADDRESS_IN_USE\)/,
    )
  })
})
