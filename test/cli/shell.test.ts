import assert from 'node:assert/strict'
import test from 'node:test'
import { run } from '../support/process.ts'
import { requireSystem, shellLine } from '../support/sshd.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { TUNNEL } from './tunnel.ts'
import { buildWayInside } from './way.ts'

const skip = requireSystem('sshd', 'script', 'bash') ?? requirePty()
const SHELL = [...TUNNEL, 'shell', 'home']
/** Of root or of a user. */
const FAR_PROMPT = /[#$] $/

test('tunnel shell', { skip }, async (t) => {
  const way = await buildWayInside(t)
  const env = { ...way.env, TERM: 'vt100' }
  /** With job control, as a person has it. */
  const localShell = async () => {
    const local = onTerminal(t, ['bash', '--norc', '-i'], { env, stdin: 'pipe' })
    local.write('PS1="loc""al> "\n')
    await local.line(/local> $/)
    return local
  }
  const piped = (line: string) => run('sh', ['-c', line], { env })

  await t.test("gives a prompt of this terminal's size and kind, and passes its status on", async () => {
    const shell = onTerminal(t, SHELL, { env, stdin: 'pipe' }, 'stty rows 33 cols 77; tty; ')
    const [device] = await shell.line(/^\/dev\/pts\/\d+/)
    await shell.line(FAR_PROMPT)
    shell.write('echo "<$(stty size) $TERM>"\n')
    await shell.line(/<33 77 vt100>/)
    shell.write('until [ "$(stty size)" = "21 66" ]; do sleep 0.05; done; echo is sma""ller; exit 6\n')
    await run('stty', ['-F', device, 'rows', '21', 'cols', '66'])
    await shell.line('is smaller')
    await shell.line('Connection to home closed.')
    assert.equal((await shell.exit).code, 6)
  })

  await t.test(
    'Ctrl-C is a key of the far shell; ~^Z and ~. are for this end, which restores the terminal',
    async () => {
      const local = await localShell()
      local.write(`${shellLine(SHELL)}\n`)
      await local.line(FAR_PROMPT)
      local.write(`sh -c 'trap "echo caught; exit" INT; echo ready; while :; do sleep 0.1; done'\n`)
      await local.line(/\bready\r?$/)
      local.write('\u0003')
      await local.line(/caught\r?$/)
      local.write('\n~\u001a')
      await local.line(/Stopped/)
      local.write('stty -a; echo sus""pended\n')
      await local.line(/(^|\s)icanon/)
      await local.line(/suspended/)
      local.write('fg\n')
      local.write('echo ba""ck\n')
      await local.line(/back/)
      const before = local.stdout.length
      local.write('~?~.')
      await local.line(/~\. +ends the connection/)
      await local.line('Connection to home closed.')
      local.write('echo "status $?"; stty -a\n')
      await local.line(/status 255/)
      local.write('exit\n')
      await local.exit
      assert.match(local.stdout.slice(before), /(^|\s)icanon/)
    },
  )

  await t.test('a signal that ends it leaves the terminal as it was', async () => {
    const local = await localShell()
    local.write(`sh -c 'echo pid=$$; exec ${shellLine(SHELL)}'\n`)
    const [, pid] = await local.line(/\bpid=(\d+)/)
    await local.line(FAR_PROMPT)
    local.write('echo rea""dy\n')
    await local.line(/\bready\r?$/)
    process.kill(Number(pid), 'SIGTERM')
    await local.line('Connection to home closed.')
    local.write('echo "status $?"; stty -a\n')
    await local.line(/status 143/)
    await local.line(/(^|\s)icanon/)
    local.write('exit\n')
    await local.exit
  })

  await t.test('without a terminal it reads commands from the pipe, and has no terminal there', async () => {
    const line = `echo 'test -t 0 || echo piped; echo oops >&2; exit 3' | ${shellLine(SHELL)}`
    const { code, stdout, stderr } = await piped(line)
    assert.deepEqual([code, stdout.trim(), stderr.trim()], [3, 'piped', 'oops'])
  })

  await t.test('a reader that goes away ends it, and the far shell with it', async () => {
    const { stdout, stderr } = await piped(`yes 'echo y' | ${shellLine(SHELL)} | head -n 1`)
    assert.deepEqual([stdout, stderr], ['y\n', ''])
    await way.nothingLeft()
  })

  await t.test('the failure of the tunnel is 255', async () => {
    const { code, stderr } = await piped(`${shellLine([...TUNNEL, 'shell', 'nowhere'])} </dev/null`)
    assert.equal(code, 255)
    assert.match(stderr, /^tunnel shell: [^\n]*MACHINE_UNKNOWN[^\n]*\n$/)
  })
})
