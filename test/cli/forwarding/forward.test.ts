import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import test from 'node:test'
import { listenTcp, until } from '../../support/proxy.ts'
import { requireSystem } from '../../support/sshd.ts'
import { tempFolder } from '../../support/tree.ts'
import { tunnel } from '../tunnel.ts'
import { Caller, portOf, startGround } from './forwarding.ts'

const skip = requireSystem('sshd')
const MIB = 1_048_576

test('tunnel forward', { skip }, async (t) => {
  const sealed = await listenTcp(t, (socket) => socket.pipe(socket))
  const inspected = await listenTcp(t, (socket) => socket.pipe(socket))
  const { proxy, env, start } = await startGround(t, [sealed])
  const path = join(await tempFolder(t), 'echo.sock')
  const program = await start([
    'forward',
    `0:home:${sealed}`,
    `0:home:${inspected}`,
    `${path}:home:${sealed}`,
  ])
  const places = { sealed: await portOf(program, sealed), inspected: await portOf(program, inspected), path }

  await t.test('says at the first connection whether the agent or the sshd makes them', async (t) => {
    assert.match(program.stdout, /^ready; Ctrl-C ends$/m)
    for (const place of Object.values(places)) assert.equal(await new Caller(t, place).ask('hello'), 'hello')
    await program.line(`home, ${sealed} is sealed: `)
    await program.line(`home, ${inspected} is inspected: `)
    assert.equal(program.stderr, '')
  })

  await t.test('passes a half close on, whoever ends first', async (t) => {
    const talker = await listenTcp(t, (socket) => {
      let heard = ''
      socket.on('data', (bytes) => {
        heard += bytes
      })
      socket.write('first')
      socket.on('end', () => socket.end(`heard ${heard}`))
    })
    const quick = await listenTcp(t, (socket) => {
      socket.end('goodbye')
      socket.on('data', (bytes) => late.push(String(bytes))).on('end', () => late.push('end'))
    })
    const late: string[] = []
    const more = await start(['forward', `0:home:${talker}`, `0:home:${quick}`])
    const caller = new Caller(t, await portOf(more, talker))
    await caller.read(5)
    caller.socket.end('and last')
    assert.equal(await caller.over, 'end')
    assert.equal(caller.text, 'firstheard and last')
    const other = new Caller(t, await portOf(more, quick))
    assert.equal(await other.over, 'end')
    assert.equal(other.text, 'goodbye')
    other.socket.write('still ')
    other.socket.end('here')
    await until(() => late.includes('end'))
    assert.equal(late.slice(0, -1).join(''), 'still here')
    await more.stop()
  })

  await t.test('carries two hundred connections at once, each with its own bytes', async (t) => {
    for (const place of [places.sealed, places.inspected]) {
      const callers = Array.from({ length: 200 }, () => new Caller(t, place))
      const answers = await Promise.all(callers.map((caller, index) => caller.ask(`${1_000 + index}`)))
      assert.deepEqual(
        answers,
        callers.map((_, index) => `${1_000 + index}`),
      )
      for (const { socket } of callers) socket.destroy()
      await until(async () => (await proxy.metric('tunnel_streams')) === 0)
    }
    assert.equal(program.stderr, '')
  })

  await t.test('a reader that stops holds back only itself', async (t) => {
    const source = await listenTcp(t, (socket) => {
      socket.on('data', () => socket.end(Buffer.alloc(24 * MIB, 'x')))
    })
    const more = await start(['forward', `0:home:${source}`])
    const port = await portOf(more, source)
    const slow = connect({ host: '127.0.0.1', port })
    t.after(() => slow.destroy())
    slow.pause().write('go')
    const quick = new Caller(t, port)
    quick.socket.write('go')
    assert.equal(await quick.over, 'end')
    assert.equal(quick.text.length, 24 * MIB)
    let readBytes = 0
    slow.on('data', (bytes) => {
      readBytes += bytes.length
    })
    slow.resume()
    await once(slow, 'end')
    assert.equal(readBytes, 24 * MIB)
    await more.stop()
  })

  await t.test('connections wait for a link that is cut, and so does a new one', async (t) => {
    const callers = [new Caller(t, places.sealed), new Caller(t, places.inspected)]
    for (const caller of callers) await caller.ask('before')
    proxy.cut('client')
    callers.push(new Caller(t, places.sealed))
    for (const caller of callers) assert.match(await caller.ask('after'), /after$/)
    await program.line(/^tunnel: link lost/, 'stderr')
    await program.line(/^tunnel: (connections go on|the link is back) after \d+\.\d s$/, 'stderr')
  })

  await t.test(
    'what fails at the far side resets the connection, says why once, and the next one is carried',
    async (t) => {
      const gone = await listenTcp(t, (socket) => socket.destroy())
      const more = await start(['forward', '0:home:127.0.0.1:1', '0:home:[::1]:1', `0:home:${gone}`])
      for (const target of ['127.0.0.1:1', '[::1]:1']) {
        const caller = new Caller(t, await portOf(more, target))
        assert.equal(await caller.over, 'ECONNRESET')
        await more.line(
          new RegExp(
            `^tunnel forward: home, ${target.replace(/[[\]]/g, '\\$&')}: .*\\((target|agent), \\w+\\)`,
          ),
          'stderr',
        )
      }
      assert.equal(await new Caller(t, await portOf(more, gone)).over, 'end')
      assert.equal(more.stderr.trim().split('\n').length, 2)
      await more.stop()
    },
  )

  await t.test('a sealed forward never becomes an inspected one', async (t) => {
    const more = await start(['forward', '--sealed', `0:home:${inspected}`])
    const caller = new Caller(t, await portOf(more, inspected))
    assert.equal(await caller.over, 'ECONNRESET')
    await more.line(/the agent of this machine does not allow .*\(agent, POLICY_DENIED\)/, 'stderr')
    await more.stop()
  })

  await t.test('with --json each event is a line, and what it listens at can be read from it', async (t) => {
    const more = await start(['forward', '--json', `0:home:${sealed}`, '0:home:127.0.0.1:1'])
    const events = () =>
      more.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    const [first, second, ready] = events()
    assert.deepEqual(
      [first?.event, first?.machine, first?.target, first?.mode],
      ['listening', 'home', sealed, 'auto'],
    )
    assert.equal(ready?.event, 'ready')
    const port = (event: typeof first) => Number(String(event?.listen).split(',')[0]?.split(':')[1])
    assert.equal(await new Caller(t, port(first)).ask('hello'), 'hello')
    await more.line('"event":"mode"')
    assert.equal(await new Caller(t, port(second)).over, 'ECONNRESET')
    await more.line('"event":"error"')
    const { event, code, hop, target, suppressed } = events().at(-1) ?? {}
    assert.deepEqual(
      [event, code, hop, target, suppressed],
      ['error', 'CONNECT_REFUSED', 'target', '127.0.0.1:1', 0],
    )
    assert.equal(more.stderr, '')
    await more.stop()
  })

  await t.test('where one port is in use nothing listens, and the status is 1', async (t) => {
    const socket = join(await tempFolder(t), 'x.sock')
    const taken = sealed.split(':')[1]
    const args = ['forward', `${socket}:home:${sealed}`, `${taken}:home:${sealed}`]
    const { code, stdout, stderr } = await tunnel(args, { env })
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(
      stderr,
      /^tunnel forward: port \d+ is in use by another program \(ADDRESS_IN_USE\): [^\n]+\n$/,
    )
    assert.equal(await new Caller(t, socket).over, 'ENOENT')
  })

  await t.test('a machine that there is not is told at the start', async () => {
    const { code, stdout, stderr } = await tunnel(['forward', `0:hoem:${sealed}`], { env })
    assert.deepEqual([code, stdout], [4, ''])
    assert.match(
      stderr,
      /^tunnel forward: you have no machine named hoem; did you mean home\? \(proxy, MACHINE_UNKNOWN\)[^\n]+\n$/,
    )
  })

  await t.test('Ctrl-C ends it and what it carries, with status 0', async (t) => {
    const caller = new Caller(t, places.sealed)
    await caller.ask('hello')
    program.kill('SIGINT')
    assert.deepEqual(await program.exit, { code: 0, signal: null })
    assert.notEqual(await caller.over, 'timeout')
    assert.equal(await new Caller(t, path).over, 'ENOENT')
    await until(async () => (await proxy.metric('tunnel_streams')) === 0)
  })
})
