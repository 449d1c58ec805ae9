#!/usr/bin/perl
# The server and the client of the network's proofs, with nothing but Debian's perl-base.
#
#   probe serve PORT            answers "NAME ADDRESS" (who answers, whom it sees) by TCP, UDP, and SCTP where
#                               the kernel has it, IPv4 and IPv6; a line that begins with "stay" keeps the
#                               connection open until the next line
#   probe ask TARGET...         TARGET: PROTOCOL/FAMILY/NAME/PORT/TIMES ("tcp/4/web/80/8"); a line each:
#                               the target, then what was answered, comma between
#   probe watch NAME            a line for each change of the name's addresses
#   probe check PORT            0 when the server answers on loopback, and there is no file /tmp/sick
#
# One thread and poll-like `select`: a thousand short connections a second are a small part of one core.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR EINPROGRESS);
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use Socket qw(:all);

use constant { SCTP => 132, BACKLOG => 4096, WAIT => 3 };
my $name = do { open my $file, '<', '/proc/sys/kernel/hostname' or die; my $line = <$file>; chomp $line; $line };
$SIG{PIPE} = 'IGNORE';

sub plain {
  my ($peer) = @_;
  return inet_ntoa((sockaddr_in($peer))[1]) if sockaddr_family($peer) == AF_INET;
  my $text = inet_ntop(AF_INET6, (sockaddr_in6($peer))[1]);
  $text =~ s/^::ffff:(?=\d+\.)//;
  return $text;
}

sub nonblocking {
  my ($socket) = @_;
  fcntl($socket, F_SETFL, fcntl($socket, F_GETFL, 0) | O_NONBLOCK) or die "fcntl: $!";
}

sub listener {
  my ($type, $protocol, $port) = @_;
  socket(my $socket, AF_INET6, $type, $protocol) or return undef;
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
  setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0) or die "dual stack: $!";
  bind($socket, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die "bind: $!";
  if ($type == SOCK_STREAM) { listen($socket, BACKLOG) or die "listen: $!" }
  nonblocking($socket);
  return $socket;
}

sub serve {
  my ($port) = @_;
  $SIG{TERM} = $SIG{INT} = sub { exit 0 };
  my $udp = listener(SOCK_DGRAM, IPPROTO_UDP, $port) or die "udp: $!";
  my @streams = grep { defined } listener(SOCK_STREAM, IPPROTO_TCP, $port), listener(SOCK_STREAM, SCTP, $port);
  my (%open, %peers);
  my $bits = '';
  vec($bits, fileno $_, 1) = 1 for $udp, @streams;
  my $end = sub { my ($fd) = @_; vec($bits, $fd, 1) = 0; close delete $open{$fd}; delete $peers{$fd} };
  while (1) {
    my $ready = $bits;
    if (select($ready, undef, undef, undef) < 0) { next if $! == EINTR; die "select: $!" }
    for my $listener (@streams) {
      next unless vec($ready, fileno $listener, 1);
      while (my $peer = accept(my $socket, $listener)) {
        nonblocking($socket);
        my $fd = fileno $socket;
        ($open{$fd}, $peers{$fd}) = ($socket, $peer);
        vec($bits, $fd, 1) = vec($ready, $fd, 1) = 1;
      }
    }
    if (vec($ready, fileno $udp, 1)) {
      while (defined(my $peer = recv($udp, my $text, 1500, 0))) {
        send($udp, "$name " . plain($peer) . "\n", 0, $peer);
      }
    }
    for my $fd (keys %open) {
      next unless vec($ready, $fd, 1);
      my $count = sysread($open{$fd}, my $text, 1500);
      if (!defined $count) { $end->($fd) unless $! == EAGAIN; next }
      if ($count > 0) { syswrite($open{$fd}, "$name " . plain($peers{$fd}) . "\n") }
      $end->($fd) if $count == 0 or $text !~ /^stay/;
    }
  }
}

my %types = (tcp => [SOCK_STREAM, IPPROTO_TCP], udp => [SOCK_DGRAM, IPPROTO_UDP], sctp => [SOCK_STREAM, SCTP]);

sub once {
  my ($protocol, $family, $host, $port) = @_;
  my ($type, $number) = @{$types{$protocol}};
  my $af = $family == 6 ? AF_INET6 : AF_INET;
  # By name with the type of a stream: what is asked of the resolver is the address alone.
  my ($error, @found) = getaddrinfo($host, '', { family => $af, socktype => SOCK_STREAM });
  return "resolve: $error" if $error;
  my $address = $af == AF_INET6
    ? pack_sockaddr_in6($port, (unpack_sockaddr_in6($found[0]{addr}))[1])
    : pack_sockaddr_in($port, (unpack_sockaddr_in($found[0]{addr}))[1]);
  socket(my $socket, $af, $type, $number) or return "socket: $!";
  nonblocking($socket);
  my $wait = sub {
    my ($write) = @_;
    my $bits = '';
    vec($bits, fileno $socket, 1) = 1;
    return select($write ? undef : $bits, $write ? $bits : undef, undef, WAIT) > 0;
  };
  if (!connect($socket, $address)) {
    return "connect: $!" unless $! == EINPROGRESS;
    return 'connect: timeout' unless $wait->(1);
    my $failed = unpack('i', getsockopt($socket, SOL_SOCKET, SO_ERROR));
    if ($failed) { $! = $failed; return "connect: $!" }
  }
  syswrite($socket, "hello\n") or return "write: $!";
  return 'read: timeout' unless $wait->(0);
  my $count = sysread($socket, my $text, 1500);
  return "read: $!" unless defined $count;
  return 'read: closed' if $count == 0;
  chomp $text;
  return $text;
}

sub ask {
  for my $target (@_) {
    my ($protocol, $family, $host, $port, $times) = split m{/}, $target;
    print "$target\t", join(',', map { once($protocol, $family, $host, $port) } 1 .. $times), "\n";
  }
}

sub check {
  my ($port) = @_;
  exit 1 if -e '/tmp/sick';
  my $answer = once('tcp', 4, '127.0.0.1', $port);
  return if $answer eq "$name 127.0.0.1";
  print "$answer\n";
  exit 1;
}

sub watch {
  my ($host) = @_;
  $| = 1;
  my $last = '';
  while (1) {
    my ($error, @found) = getaddrinfo($host, '', { family => AF_INET, socktype => SOCK_STREAM });
    my $now = join ' ', sort map { inet_ntoa((sockaddr_in($_->{addr}))[1]) } @found;
    if ($now ne $last) { print "$now\n"; $last = $now }
    select undef, undef, undef, 0.01;
  }
}

my ($verb, @words) = @ARGV;
if ($verb eq 'serve') { serve(@words) }
elsif ($verb eq 'ask') { ask(@words) }
elsif ($verb eq 'watch') { watch(@words) }
elsif ($verb eq 'check') { check(@words) }
else { die "usage: probe serve PORT | ask TARGET... | watch NAME | check PORT\n" }
