import { kindOf, offered, passingOn, type ShellCommand, type ShellOption } from './shell.ts'

/** fish takes a backslash for an escape between single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, '\\$&')}'`
}

function action(kind: string): string {
  if (kind === '') return '-x'
  if (kind === 'file') return '-r -F'
  if (kind === 'place') return "-F -a '(__tunnel_places)'"
  return kind.startsWith('=') ? `-x -a ${quoted(kind.slice(1))}` : `-x -a '(__tunnel_values ${kind})'`
}

function optionLine(command: string, { names, does, values }: ShellOption): string {
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`))
  const value = values === undefined ? '' : ` ${action(kindOf(values))}`
  return `complete -c tunnel -n ${quoted(`__tunnel_is ${quoted(command)}`)} ${flags.join(' ')}${value} -d ${quoted(does)}`
}

function placeLines({ name, places, isOpenEnded }: ShellCommand): string[] {
  return places.flatMap((place, at) => {
    const kind = kindOf(place)
    if (kind === '') return []
    const test =
      isOpenEnded && at === places.length - 1
        ? `__tunnel_is ${quoted(name)}`
        : `__tunnel_at ${quoted(name)} ${at}`
    return [`complete -c tunnel -n ${quoted(test)} ${action(kind)}`]
  })
}

/** Another program's options, all of them: fish takes no cluster for options that has one which it does not know. */
function passedOnLines({ name, passedOn }: ShellCommand): string[] {
  if (passedOn === undefined) return []
  const { valued, files, plain } = passedOn
  return [...valued, ...plain].map((letter) => {
    const value = files.includes(letter) ? ' -r -F' : valued.includes(letter) ? ' -x' : ''
    const does = quoted(`of ${name} itself`)
    return `complete -c tunnel -n ${quoted(`__tunnel_is ${quoted(name)}`)} -s ${letter}${value} -d ${does}`
  })
}

export function fishCompletion(commands: readonly ShellCommand[]): string {
  const first = offered(commands)
  const valued = [
    ...new Set(
      commands.flatMap(({ options }) =>
        options.filter(({ values }) => values !== undefined).flatMap(({ names }) => names),
      ),
    ),
  ]
  const twoWords = commands.map(({ name }) => name).filter((name) => name.includes(' '))
  return `# fish completion of tunnel, made by \`tunnel completion fish\`

# The command and its arguments so far, options aside.
function __tunnel_words
    set -l skip 0
    set -l command
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word ${valued.join(' ')}
            set skip 1
        else if not string match -q -- '-*' $word
            set command $command $word
            echo $word
        else
            switch "$command"
${passingOn(commands)
  .map(
    ([name, valued]) =>
      `                case ${quoted(name)}\n                    string match -qr -- '^-[^-${valued}]*[${valued}]$' $word; and set skip 1`,
  )
  .join('\n')}
            end
        end
    end
end

function __tunnel_name
    set -l words (__tunnel_words)
    if contains -- "$words[1..2]" ${twoWords.map(quoted).join(' ')}
        echo "$words[1..2]"
    else
        echo $words[1]
    end
end

function __tunnel_is
    test (__tunnel_name) = $argv[1]
end

function __tunnel_at
    __tunnel_is $argv[1]; or return 1
    set -l own (string split ' ' -- $argv[1])
    test (math (count (__tunnel_words)) - (count $own)) = $argv[2]
end

function __tunnel_values
    set -l access
    set -l words (commandline -opc)
    for at in (seq (math (count $words) - 1))
        if contains -- $words[$at] --url --token --context --profile
            set -a access $words[$at] $words[(math $at + 1)]
        end
    end
    set -l lead (string match -r '^.*@' -- (commandline -ct))
    command -q tunnel; and tunnel completion --values $argv[1] $access 2>/dev/null | string replace -r '^' "$lead"
end

function __tunnel_places
    __tunnel_values machine | string replace -r '$' ':'
end

complete -c ssh-websocket-tunnel -w tunnel
complete -c tunnel -f
${first
  .map(
    ({ name, summary }) =>
      `complete -c tunnel -n 'test (count (__tunnel_words)) = 0' -a ${name} -d ${quoted(summary)}`,
  )
  .join('\n')}
${commands.flatMap((command) => [...command.options.map((option) => optionLine(command.name, option)), ...passedOnLines(command), ...placeLines(command)]).join('\n')}
`
}
