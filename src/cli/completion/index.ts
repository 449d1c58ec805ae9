/** `skep completion …`: what a shell must run to complete our words. They all ask `skep __complete`. */

import type { Command } from "../command.ts";

// Bash takes apart words at ":" and "=", and replaces only what follows the last of them.
const BASH = `# skep completion for bash. Now: source <(skep completion bash)
# Always: skep completion bash >/etc/bash_completion.d/skep
_skep() {
  local line=\${COMP_LINE:0:COMP_POINT} word kept=
  local -a words
  read -ra words <<<"$line"
  [[ $line != *[[:space:]] ]] || words+=("")
  local current=\${words[\${#words[@]} - 1]}
  [[ $COMP_WORDBREAKS != *:* ]] || kept=\${current%"\${current##*[:=]}"}
  COMPREPLY=()
  while IFS=$'\\t' read -r word _; do
    COMPREPLY+=("\${word#"$kept"}")
  done < <("\${words[0]}" __complete "\${words[@]:1}" 2>/dev/null)
}
complete -o default -F _skep skep
`;

const ZSH = `#compdef skep
# skep completion for zsh. Now: source <(skep completion zsh)
# Always: skep completion zsh >"\${fpath[1]}/_skep"
_skep() {
  local row
  local -a rows=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}") described
  for row in $rows; do
    described+=("\${\${row%%$'\\t'*}//:/\\\\:}:\${row#*$'\\t'}")
  done
  if (( $#described )); then _describe skep described; else _files; fi
}
if [[ $funcstack[1] == _skep ]]; then _skep "$@"; else compdef _skep skep; fi
`;

const FISH = `# skep completion for fish. Now: skep completion fish | source
# Always: skep completion fish >~/.config/fish/completions/skep.fish
function __skep_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l rows ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    if test (count $rows) -gt 0
        printf '%s\\n' $rows
    else
        __fish_complete_path "$current"
    end
end
complete -c skep -f -a '(__skep_complete)'
`;

export const COMMANDS: readonly Command[] = Object.entries({
  bash: BASH,
  fish: FISH,
  zsh: ZSH,
}).map(([shell, script]) => ({
  path: ["completion", shell],
  usage: "",
  summary: `Print the completion script for ${shell}`,
  // docker's scripts can be had without descriptions; ours show them where the shell can.
  flags: [{ name: "no-descriptions", kind: "bool", usage: "Accepted for docker's sake" }],
  minArgs: 0,
  maxArgs: 0,
  run: ({ stdout }) => {
    stdout.write(script);
    return Promise.resolve(0);
  },
}));
