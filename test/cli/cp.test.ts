import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { run } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import { requireSystem, shellLine } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { startTunnel, TUNNEL, tunnel } from './tunnel.ts'
import { buildWayInside } from './way.ts'

const MIB = 1_048_576

test('tunnel cp', { skip: requireSystem('sshd') }, async (t) => {
  const way = await buildWayInside(t)
  const folder = await tempFolder(t)
  const path = (name: string): string => join(folder, name)
  const relay = await FaultRelay.listen(t, { target: { host: '127.0.0.1', port: way.port } })
  const slowly = { ...way.env, TUNNEL_URL: `http://127.0.0.1:${relay.port}` }
  const bytes = randomBytes(10 * MIB)
  await writeFile(path('big'), bytes)

  await t.test('says nothing in a pipe when all is well, and with --json says it all', async () => {
    const quiet = await tunnel(['cp', path('big'), `home:${path('quiet')}`], { env: way.env })
    assert.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, '', ''])
    const { stdout } = await tunnel(['cp', '--json', `home:${path('quiet')}`, path('back')], { env: way.env })
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ event }) => event !== 'progress')
    assert.deepEqual(
      events.map(({ event, checked, resumes }) => [event, checked ?? resumes]),
      [
        ['planned', undefined],
        ['copied', 'both sides'],
        ['done', 0],
      ],
    )
    assert.ok((await readFile(path('back'))).equals(bytes))
  })

  await t.test('goes over the link that `tunnel up` keeps', async (t) => {
    const up = startTunnel(t, ['up', '--foreground'], { env: slowly })
    await up.line(/^up: /)
    const { accepted } = relay.counters
    const { code, stderr } = await tunnel(['cp', path('big'), `home:${path('warm')}`], { env: slowly })
    assert.deepEqual([code, relay.counters.accepted], [0, accepted], stderr)
    await up.stop()
  })

  await t.test('Ctrl-C leaves a part and says so, and the same command goes on from it', async () => {
    // So much that it is not all there by the time that Ctrl-C is heard of.
    const long = Buffer.concat(Array(6).fill(bytes))
    await writeFile(path('long'), long)
    relay.throttle(4 * MIB)
    const words = ['cp', path('long'), `home:${path('stopped')}`]
    const part = path('stopped.tunnel-part')
    const copying = startTunnel(t, words, { env: slowly })
    await until(async () => ((await stat(part).catch(() => undefined))?.size ?? 0) > MIB)
    copying.kill('SIGINT')
    // What is on its way has to arrive while a copy that is stopped still waits for it.
    relay.clear()
    assert.equal((await copying.exit).code, 130)
    assert.match(
      copying.stderr,
      /^tunnel cp: [\d.]+ MB are kept in home:\S+\/stopped\.tunnel-part; the same command goes/,
    )
    const { size } = await stat(part)
    assert.ok((await readFile(part)).equals(long.subarray(0, size)))
    const { stdout } = await tunnel(['cp', '--json', ...words.slice(1)], { env: way.env })
    assert.match(stdout, new RegExp(`"resumedFrom":${size}\\b`))
    assert.ok((await readFile(path('stopped'))).equals(long))
    assert.equal((await readdir(folder)).filter((name) => name.endsWith('-part')).length, 0)
  })

  await t.test('a failure is one line and status 1, and a machine that is not there is 4', async () => {
    const lines: [words: string[], status: number, said: RegExp][] = [
      [
        [path('none'), 'home:'],
        1,
        /none cannot be copied: there is no such file or folder \(client, FILE_FAILED\)/,
      ],
      [
        [path('big'), 'home:no/such/x'],
        1,
        /^tunnel cp: nothing can be copied to home:no\/such\/x: there is no folder home:no\/such \(target, FILE/,
      ],
      [
        ['home:whatever', path('no/such/x')],
        1,
        /: nothing can be copied to \S+no\/such\/x: there is no folder \S+no\/such \(client, FILE/,
      ],
      [
        [path('big'), `home:${path('quiet')}/x`],
        1,
        /nothing can be copied to \S+quiet\/x: \S+quiet is not a folder/,
      ],
      [[path('big'), 'nowhere:x'], 4, /MACHINE_UNKNOWN/],
    ]
    for (const [words, status, said] of lines) {
      const { code, stdout, stderr } = await tunnel(['cp', ...words], { env: way.env })
      assert.deepEqual([code, stdout], [status, ''], stderr)
      assert.match(stderr, said)
      assert.match(stderr, /^tunnel cp: [^\n]+\n$/)
    }
  })

  await t.test('a reader of --json that goes away ends the copy', async () => {
    relay.throttle(2 * MIB)
    const line = `${shellLine([...TUNNEL, 'cp', '--json', path('big'), `home:${path('unread')}`])} | head -n 1`
    const { stdout } = await run('sh', ['-c', line], { env: slowly })
    relay.clear()
    assert.match(stdout, /^\{"event":"planned","files":1,"bytes":\d+\}\n$/)
    await assert.rejects(stat(path('unread')))
  })

  await t.test(
    'on a terminal of 20 columns it shows how far it is, and how it ended',
    {
      skip: requireSystem('script') ?? requirePty(),
    },
    async () => {
      relay.throttle(4 * MIB)
      const words = [...TUNNEL, 'cp', path('big'), `home:${path('shown')}`]
      const shown = onTerminal(t, words, { env: slowly, stdin: 'pipe' }, 'stty cols 20; ')
      await once(shown.child, 'close')
      relay.clear()
      const drawn = shown.stdout.split(/[\r\n]+/).map((text) => text.replaceAll('\u001b[K', ''))
      const progress = drawn.filter((text) => /\d%/.test(text))
      assert.ok(progress.length > 0)
      for (const text of progress) assert.ok(text.length < 20, JSON.stringify(text))
      assert.match(shown.stdout, /tunnel cp: one file,\r\n10\.5 MB in \d+:\d\d;\r\nchecksums are equal\r\n/)
    },
  )

  await way.nothingLeft()
})
