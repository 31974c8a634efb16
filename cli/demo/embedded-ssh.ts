// The demo's `ssh` where OpenSSH has none: ssh2's client over `tunnel stdio`, as a program of its own, so that the
// demo starts, reads and ends it as it would the real one. Usage: embedded-ssh KEYFILE USER MACHINE COMMAND
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import ssh2 from 'ssh2'
import { selfCommand } from '../self.ts'
import { signalStatus } from '../stop.ts'

const [keyFile = '', username = '', machine = '', command = ''] = process.argv.slice(2)
const [program = '', ...args] = selfCommand()
const stdio = spawn(program, [...args, 'stdio', machine], { stdio: ['pipe', 'pipe', 'inherit'] })
const client = new ssh2.Client()

function fail(error: Error): void {
  process.stderr.write(`${error.message}\n`)
  stdio.kill()
  process.exitCode = 255
}

// As ssh does with its ProxyCommand, which else would look for a lost proxy for as long as streams may resume.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => {
    stdio.kill()
    process.exit(signalStatus(signal))
  })

client.on('error', fail)
client.on('ready', () => {
  client.exec(command, (error, channel) => {
    if (error !== undefined) return fail(error)
    channel.pipe(process.stdout)
    channel.stderr.pipe(process.stderr)
    channel.end()
    channel.on('exit', (code: number | null) => {
      process.exitCode = code ?? 255
    })
    channel.on('close', () => client.end())
  })
})
client.connect({
  sock: Duplex.from({ readable: stdio.stdout, writable: stdio.stdin }),
  username,
  privateKey: readFileSync(keyFile),
})
