import { FileUnreadable, type Verdict, verifyTrail } from '../../plugins/audit/verify.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { visible } from '../output.ts'
import { tell } from '../prose.ts'

export const definition: Definition = {
  name: 'audit verify',
  does: [
    'Checks that the files of an audit trail are as the proxy wrote them, and names each line that was changed, removed,',
    'moved or cut off. The exit status is 1 if there is one.',
  ].join(' '),
  examples: [
    'tunnel audit verify /var/lib/ssh-websocket-tunnel/audit*.log',
    'tunnel audit verify --head 5f2c…e1 audit*.log',
  ],
  notes: [
    [
      'Give all files of the trail, in any order. They do not show lines that were cut',
      'off at the very end: keep the hash that this command and the log of the proxy',
      'print elsewhere, and give it with --head the next time.',
    ].join('\n'),
  ],
  reaches: false,
  arguments: [
    { name: '<file...>', does: 'the file audit.log, and those that were set aside', values: 'file' },
  ],
  options: [{ flags: '--head <hash>', does: 'the hash of a line that must be there' }],
}

const HASH = /^[0-9a-f]{64}$/

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const { head, json } = made.opts<CommonOptions & { head?: string }>()
  if (head !== undefined && !HASH.test(head))
    throw new UsageError('--head is 64 hex digits, as this command prints them')
  const verdict = await verifyTrail(made.args, head).catch((error: unknown) => {
    throw error instanceof FileUnreadable ? new UsageError(error.message) : error
  })
  if (json === true) process.stdout.write(`${JSON.stringify(verdict, null, 2)}\n`)
  else tell(textOf(verdict))
  return verdict.findings.length === 0 ? EXIT.ok : EXIT.failure
}

function textOf({ files, lines, findings, notes, head }: Verdict): string {
  const told = [
    ...findings.map(({ file, line, what }) => `${file}, line ${line}: ${what}`),
    ...notes.map((note) => `note: ${note}`),
  ]
  const count = `${lines} line${lines === 1 ? '' : 's'} in ${files} file${files === 1 ? '' : 's'}`
  const sum = findings.length === 0 ? `${count}: as they were written` : `${count}: NOT as they were written`
  const last = head === undefined ? [] : [`the last is of ${head.timestamp}, and its hash ${head.hash}`]
  return [...told, sum, ...last].map((line) => `${visible(line)}\n`).join('')
}
