import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { COMMANDS } from '../../cli/commands.ts'
import { fold } from '../../cli/prose.ts'
import { compiledModule } from '../support/compiled.ts'
import { startProxy } from '../support/proxy.ts'
import { shellLine } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { isolated, type Printed } from './tunnel.ts'

test('prose is broken at blanks, and what follows a break is indented like its line', () => {
  const text = '  a list of words\n\nan-address-that-is-long and more\n'
  assert.equal(fold(text, 10), '  a list\n  of words\n\nan-address-that-is-long\nand more\n')
  assert.equal(fold('name  what it is for', 12, 6), 'name  what\n      it is\n      for')
  assert.equal(fold('one two', 7), 'one two')
  assert.equal(fold(text, Number.POSITIVE_INFINITY), text)
  // Whoever is asked for more than there is room for gets half of it.
  assert.equal(fold('a b c d e', 4, 20), 'a b\n  c\n  d\n  e')
})

test('colours take no room, and a command to copy stays in one line', () => {
  const red = '\u001b[31mred\u001b[39m'
  assert.equal(fold(`${red} ${red} ${red}`, 7), `${red} ${red}\n${red}`)
  const line = '  $ tunnel machines --url https://tunnel.example.com'
  assert.equal(fold(line, 20), line)
})

/** Those that print prose of their own, good and bad. */
const LINES = [
  'nonsense',
  'machines',
  'machines --enroll other',
  'machines --forget nope',
  'status',
  'status --cluster',
  'sessions',
  'sessions end 0f3a5c7be1d94e2f8a6b0c1d2e3f4a5b',
  'diagnose nope',
  'token --sub alice --role wizard',
  'login',
  'logout',
  'key --authorize',
  'config --explain heartbeat',
  'config --profile production',
  'install server --user --root .',
  'use',
  'use work --url http://127.0.0.1:1 --token-file nowhere',
  'use --none',
  'ssh-config --write',
  'exec home',
  'request http://nope:1/',
  'cp nowhere home:',
  'down',
].map((line) => line.split(' '))

test('at 20, 40 and 80 columns what every command says fits the terminal', {
  skip: requirePty(),
}, async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const folder = await tempFolder(t)
  const access = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') }
  const env = isolated(folder, { ...access, HOME: folder, NO_COLOR: '1' })
  const help = Object.keys(COMMANDS).map((name) => [...name.split(' '), '--help'])
  const lines = [['--help'], ...help, ...LINES]
  writeFileSync(
    join(folder, 'lines'),
    JSON.stringify({ dispatch: compiledModule('command/cli/dispatch.ts'), lines }),
  )
  const runner = fileURLToPath(new URL('./many-lines.mjs', import.meta.url))
  const words = [process.execPath, '--no-incremental-marking', runner]
  for (const columns of [20, 40, 80]) {
    const shell = ['sh', '-c', `exec ${shellLine(words)} <lines`]
    const program = onTerminal(t, shell, { env, cwd: folder }, `stty cols ${columns}; `)
    assert.equal((await program.exit).code, 0, program.stdout)
    const printed = JSON.parse(program.stdout) as Printed[]
    assert.equal(printed.length, lines.length)
    for (const [index, { stdout, stderr }] of printed.entries()) {
      const said = `${stdout}${stderr}`
      assert.notEqual(said, '')
      // Where it takes time, a line of progress was there before.
      const wide = said
        .replaceAll('\r\u001b[K', '\n')
        .split('\n')
        .filter((line) => !fits(line, columns))
      assert.deepEqual(wide, [], `tunnel ${lines[index]?.join(' ')} at ${columns} columns`)
    }
  }
})

/** Whether there was no place to break it, too. */
function fits(line: string, columns: number): boolean {
  return line.length <= columns || !line.trim().includes(' ') || COPIED.test(line)
}

/** Whole commands, to be typed or pasted. */
const COPIED = /^ {2}(\$|tunnel agent enroll|systemctl|journalctl|loginctl) /
